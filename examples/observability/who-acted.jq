# Who acted as whom, on what evidence, when, from where, and with what result?
#
#     jq -rn -f who-acted.jq audit.log
#
# One row for each request: time, actor, principal, evidence, peer, method, path, status, reason. An
# accepted request has the status of its response; one without a status still runs.
def who: if . == null then "-" else .id // .hash // .kind end;
[inputs] as $lines
| ($lines | map(select(.event == "closed")) | INDEX(.request_id)) as $closed
| $lines[]
| select(.event == "accepted" or .event == "refused")
| [
    .time,
    (.actor // .principal | who),
    (.principal | who),
    .evidence // "-",
    .peer // "-",
    .method,
    .path,
    .status // $closed[.request_id].status // "-",
    .reason // "-"
  ]
| @tsv
