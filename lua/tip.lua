-- Holds for an older token what its chain has come to, so that the next caller with it has a short way; or ends what is held.
--
-- KEYS[1] held       hash, the answer that is held for the older token
-- KEYS[2] held_until sorted set, until when answers are held
-- KEYS[3] link       hash, the record of the token in the answer; that of the older one where the chain leads nowhere
-- ARGV[1] name       the flight of the older token
-- ARGV[2] claim      the claim that the answer is for
-- ARGV[3] attempt    that the outcome is of: it is sealed with it
-- ARGV[4] fence      its fence
-- ARGV[5] age_ms     how long ago the provider gave it
-- ARGV[6] until_used_ms  how long it is held from now on
-- ARGV[7] next       the flight of the refresh token in it
-- ARGV[8] sealed     the outcome, for holders of the older token; '' where the chain leads nowhere
--
-- Replies
--   {'held'}    it is held now
--   {'ended'}   nothing is held any more
--   {'stale'}   nothing was held for this claim, or something newer is; or nothing is known of the newer token
assert(#KEYS == 3 and #ARGV == 8, 'tip: 3 keys, 8 arguments')
local held, index, link = KEYS[1], KEYS[2], KEYS[3]
local name, claim, attempt, fence, age_ms, until_used_ms, next_flight, sealed = unpack(ARGV)
local now = read_clock()

local claim_there, fence_there = unpack(redis.call('HMGET', held, 'claim', 'fence'))
if claim_there ~= claim then
  return {'stale'}
end
if sealed == '' then
  redis.call('DEL', held)
  redis.call('ZREM', index, name)
  return {'ended'}
end
if tonumber(fence_there) >= tonumber(fence) then
  return {'stale'}
end
local generation, given_until = unpack(redis.call('HMGET', link, 'generation', 'given_until'))
if not generation then
  -- Somebody came with it before its answer landed: nothing there would tell of it.
  return {'stale'}
end
local ends = whole(now + until_used_ms)
if given_until then
  -- It is given for as long as anything is held that leads to it.
  redis.call('HSET', link, 'given_until', whole(math.max(given_until, ends)))
  keep_at_least(link, tonumber(until_used_ms))
end
redis.call('HSET', held, 'attempt', attempt, 'fence', fence, 'landed_at', whole(now - age_ms), 'next', next_flight,
  'sealed', sealed)
redis.call('PEXPIREAT', held, ends)
redis.call('ZADD', index, ends, name)
keep_at_least(index, tonumber(until_used_ms))
return {'held'}
