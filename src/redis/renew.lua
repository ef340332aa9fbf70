-- Renews leases, those too that Redis has forgotten: their scopes are open.
-- KEYS: the limit of each lease. ARGV: how long leases live in ms, then the id of each.
local time = redis.call('TIME')
local lease_ms = tonumber(ARGV[1])
local expires_at = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + lease_ms)
for i = 1, #KEYS do
    redis.call('ZADD', KEYS[i], expires_at, ARGV[i + 1])
    if redis.call('PTTL', KEYS[i]) < lease_ms then
        redis.call('PEXPIRE', KEYS[i], lease_ms)
    end
end
return 0
