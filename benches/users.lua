-- wrk: requests of so many users in turn, spread so that no cache guesses the next. The script's
-- own arguments: how many users there are, and how many requests there were before.
local users, turn = 1, 0
local STRIDE = 7919

function init(arguments)
  users = tonumber(arguments[1]) or 1
  turn = ((tonumber(arguments[2]) or 0) * STRIDE) % users
end

function request()
  turn = (turn + STRIDE) % users
  return wrk.format("GET", "/", { ["x-user-id"] = string.format("user-%07d", turn) })
end

function done(summary)
  local errors = summary.errors
  io.write(string.format(
    "RESULT %d %.3f %d\n",
    summary.requests,
    summary.requests / (summary.duration / 1e6),
    errors.status + errors.connect + errors.read + errors.write + errors.timeout
  ))
end
