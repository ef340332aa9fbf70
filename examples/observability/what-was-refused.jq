# What was refused, why, how often, and from where?
#
#     jq -n -f what-was-refused.jq audit.log
#
# One object for each status and reason, the commonest first, with the peers that it came from.
[inputs | select(.event == "refused")]
| group_by([.status, .reason])
| map({
    status: .[0].status,
    reason: .[0].reason,
    requests: length,
    peers: map(.peer) | unique,
    last: map(.time) | max
  })
| sort_by(-.requests)
