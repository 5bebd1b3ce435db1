-- Tries, at start, every command the other scripts use, on keys of this pod's own that are gone afterwards.
--
-- KEYS[1] lock       a lock that is no flight's
-- KEYS[2] flight     a flight that is none
-- KEYS[3] fence      string, the last fence given
-- KEYS[4] recovering string, stands for one lease after Redis was found to have forgotten
-- KEYS[5] meta       hash, what all pods must agree on
-- KEYS[6] queue      a queue in which nobody waits
-- KEYS[7] attempts   of no session; this and the following are not touched, but a user without the right is told so
-- KEYS[8] permits    sorted set, the flights that ask the provider now
-- KEYS[9] budget     string, how many do
-- KEYS[10] waiting   sorted set, the flights that wait for a permit
-- KEYS[11] circuit   hash, whether the provider is left in peace
-- ARGV[1] channel    the pod's channel
--
-- Replies
--   {'ready', fence}         and the last fence given, 0 when none was
--   {'old', version}         a server older than the scripts need
--   {'refused', command, error}   the first command the server refuses
assert(#KEYS == 11 and #ARGV == 1, 'check: 11 keys, 1 argument')
local lock, flight, fence, recovering, meta, queue = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local channel = ARGV[1]

-- Known to scripts from 7.0 on.
if not redis.REDIS_VERSION_NUM or redis.REDIS_VERSION_NUM < 0x00070000 then
  return {'old', redis.REDIS_VERSION or 'before 7.0'}
end

-- The Lua of a 32-bit server writes no stamp with %d: all would be the same, and every span over or endless.
if string.format('%d', 4294967296) ~= '4294967296' then
  return {'refused', 'string.format', 'a 32-bit build cannot write moments; use a 64-bit one'}
end

-- Every command that writes comes after the one that ends what it wrote.
local commands = {
  {'TIME'}, {'EXISTS', lock}, {'GET', lock}, {'MGET', lock}, {'PTTL', lock}, {'HMGET', flight, 'state'}, {'HGETALL', flight},
  {'DEL', lock}, {'PEXPIRE', flight, 1000}, {'GET', fence}, {'PTTL', recovering}, {'HMGET', meta, 'protocol'},
  {'SET', lock, 'check', 'NX', 'PX', 1000}, {'HSET', flight, 'state', 'check'}, {'PEXPIRE', flight, 1000},
  {'HINCRBY', flight, 'failures', 1}, {'HGET', flight, 'state'}, {'HEXISTS', flight, 'state'},
  {'HDEL', flight, 'state'}, {'DEL', lock}, {'SET', lock, '1', 'PX', 1000}, {'DECR', lock},
  {'PEXPIREAT', queue, 1}, {'ZREM', queue, 'check'}, {'ZADD', queue, 0, 'check'}, {'PEXPIREAT', queue, 1},
  {'ZRANGE', queue, 0, 0}, {'ZRANGEBYSCORE', queue, 0, 0}, {'ZREMRANGEBYSCORE', queue, 0, 0},
  {'ZSCORE', queue, 'check'}, {'PUBLISH', channel, 'check'},
}
local refused
for _, command in ipairs(commands) do
  local reply = redis.pcall(unpack(command))
  if type(reply) == 'table' and reply.err then
    refused = {'refused', command[1], reply.err}
    break
  end
end
redis.pcall('DEL', lock, flight, queue)
return refused or {'ready', redis.call('GET', fence) or '0'}
