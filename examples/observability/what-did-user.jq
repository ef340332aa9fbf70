# What did this user do, or try, and who did it in the user's name?
#
#     jq -n -f what-did-user.jq --arg user alice audit.log
#
# One object for each request of the user as principal or as actor, refused ones included. `user` is an
# id or a hash, as the log has it.
def is: . != null and (.id == $user or .hash == $user);
[
  inputs
  | select(.event == "accepted" or .event == "refused")
  | select((.principal | is) or (.actor | is))
  | {time, event, method, path, status, reason, thread_id, principal, actor}
  | with_entries(select(.value != null))
]
