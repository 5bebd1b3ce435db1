-- Answers where scripts that write are let in; sent by pods that have lost Redis, until it answers. Then Redis learns at
-- once what the pod has seen, and what it has done alone meanwhile.
--
-- KEYS[1] fence      string, the last fence given
-- KEYS[2] recovering string, stands for one lease after Redis was found to have forgotten
-- ARGV[1] seen       the highest fence the pod has seen
-- ARGV[2] given      the highest fence the pod gave itself without Redis, 0 if none
-- ARGV[3] lease_ms   how long a lease is
--
-- Replies
--   {'ready'}   whatever is given from now on is higher than both
assert(#KEYS == 2 and #ARGV == 3, 'probe: 2 keys, 3 arguments')
local fence, recovering = KEYS[1], KEYS[2]
local seen, given, lease_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

-- First what Redis gave and may have forgotten; only then what it never knew.
local last = last_fence(fence, recovering, redis.call('MGET', fence, recovering), seen, lease_ms)
if last < given then
  redis.call('SET', fence, string.format('%.0f', given))
end
return {'ready'}
