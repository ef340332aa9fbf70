# Writes the lines of the audit log as events of the Elastic Common Schema.
#
#     jq -c -f to-ecs.jq audit.log
select(.event == "accepted" or .event == "refused" or .event == "closed")
| {
    "@timestamp": .time,
    "event.kind": "event",
    "event.category": ["authentication"],
    "event.type": [if .event == "accepted" then "start" elif .event == "closed" then "end" else "info" end],
    "event.action": .event,
    "event.outcome": (if .event == "refused" then "failure" else "success" end),
    "event.reason": .reason,
    "user.id": (.actor // .principal | .id?),
    "user.hash": (.actor // .principal | .hash?),
    "user.effective.id": (if .actor then .principal.id else null end),
    "source.ip": .peer,
    "http.request.id": .request_id,
    "http.request.method": .method,
    "url.path": .path,
    "http.response.status_code": .status
  }
| del(.. | nulls)
