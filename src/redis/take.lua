-- Counts one request against several limits: all of them, or none.
-- KEYS: the limits, then the limits of leases that are given back first.
-- ARGV: how many limits, the lease's id, how long it lives in ms; for each limit its kind and two numbers;
-- then the ids of the leases that are given back.
-- Returns the number of the limit that is used up and after how many microseconds to try again; or 0, 0,
-- and for each limit how much is left, and after how many microseconds all of it is.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local now_ms = math.floor(now / 1000)
local limits, lease, lease_ms = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

for i = limits + 1, #KEYS do
    redis.call('ZREM', KEYS[i], ARGV[3 + 3 * limits + i - limits])
end

local fresh_at, answer = {}, {0, 0}
for i = 1, limits do
    local kind, first, second = ARGV[1 + 3 * i], tonumber(ARGV[2 + 3 * i]), tonumber(ARGV[3 + 3 * i])
    if kind == 'rate' then
        -- Between requests, and how far ahead; after the clock was set back nobody is further ahead.
        local interval, tolerance = first, second
        local known = tonumber(redis.call('GET', KEYS[i]) or 0) or 0
        fresh_at[i] = math.max(math.min(known, now + tolerance), now) + interval
        local wait = fresh_at[i] - now - tolerance
        -- A microsecond is less than what the numbers are rounded by.
        if wait > 1 then
            return {i, math.ceil(wait)}
        end
        local ahead = fresh_at[i] - now
        answer[1 + 2 * i] = math.max(math.floor((tolerance - ahead + 1) / interval), 0)
        answer[2 + 2 * i] = math.ceil(ahead)
    else
        redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', string.format('%.0f', now_ms))
        local taken = redis.call('ZCARD', KEYS[i])
        if taken >= first then
            return {i, 0}
        end
        answer[1 + 2 * i], answer[2 + 2 * i] = first - taken - 1, 0
    end
end

for i = 1, limits do
    if fresh_at[i] then
        local left_ms = math.min(math.ceil((fresh_at[i] - now) / 1000) + 1, 2 ^ 50)
        redis.call('SET', KEYS[i], string.format('%.2f', fresh_at[i]), 'PX', string.format('%.0f', left_ms))
    else
        redis.call('ZADD', KEYS[i], string.format('%.0f', now_ms + lease_ms), lease)
        if redis.call('PTTL', KEYS[i]) < lease_ms then
            redis.call('PEXPIRE', KEYS[i], lease_ms)
        end
    end
end
return answer
