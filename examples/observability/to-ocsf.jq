# Writes the lines of the audit log as events of OCSF 1.9: Authentication (3002) where the credential
# was refused, API Activity (6003) for all other requests.
#
#     jq -c -f to-ocsf.jq --arg service orders audit.log
def millis: (.[0:19] + "Z" | fromdate) * 1000 + (.[20:23] | tonumber);
def user:
  if . == null then {type_id: 0, type: "Unknown"}
  else {uid: (.id // .hash), type_id: (if .kind == "service" then 3 elif .kind == "user" then 1 else 0 end)}
    | with_entries(select(.value != null))
  end;
def base($class; $activity; $ok):
  {
    class_uid: $class,
    category_uid: ($class / 1000 | floor),
    activity_id: $activity,
    type_uid: ($class * 100 + $activity),
    severity_id: (if $ok then 1 elif .status >= 500 then 4 else 3 end),
    time: (.time | millis),
    status_id: (if $ok then 1 else 2 end),
    status_code: .reason,
    status_detail: .detail,
    src_endpoint: ({ip: .peer} | with_entries(select(.value != null))),
    metadata: {
      version: "1.9.0",
      product: {name: "tower-user-scope", vendor_name: "tower-user-scope"},
      correlation_uid: .request_id
    }
  };
def api:
  {POST: 1, GET: 2, HEAD: 2, PUT: 3, PATCH: 3, DELETE: 4}[.method] // 99;
select(.event == "accepted" or .event == "refused")
| (.event == "accepted") as $ok
| if ($ok | not) and (.status == 400 or .status == 401) then
    base(3002; 1; false) + {user: (.principal | user), service: {name: $service}}
  else
    base(6003; api; $ok) + {
      actor: {user: (.actor // .principal | user)},
      api: {operation: (.method + " " + .path), service: {name: $service}},
      http_request: {http_method: .method, url: {path: .path}},
      http_response: ({code: .status} | with_entries(select(.value != null))),
      disposition_id: (if $ok then 1 else 2 end)
    }
    + (if .actor then {unmapped: {on_behalf_of: (.principal | user)}} else {} end)
  end
| del(.. | nulls)
