# Who saw this thread since that time?
#
#     jq -n -f who-saw-thread.jq --arg thread t-17 --arg since 2026-11-18 audit.log
#
# One object for each principal and actor, with the number of requests, the first and the last.
[inputs | select(.event == "accepted" and .thread_id == $thread and .time >= $since)]
| group_by([.tenant_id, .principal, .actor])
| map({
    principal: .[0].principal,
    tenant_id: .[0].tenant_id,
    actor: .[0].actor,
    requests: length,
    first: map(.time) | min,
    last: map(.time) | max
  })
