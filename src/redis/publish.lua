-- Records a message.
-- KEYS: the record. ARGV: the message, how long to keep it in ms, and the most messages.
-- Returns 1, or 0 where the record is full.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local keep_ms = tonumber(ARGV[2])
redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', math.max(now_ms - keep_ms, 0)))
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[3]) then
    return 0
end
redis.call('XADD', KEYS[1], '*', 'message', ARGV[1])
if redis.call('PTTL', KEYS[1]) < keep_ms then
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', keep_ms))
end
return 1
