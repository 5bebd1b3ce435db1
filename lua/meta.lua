-- Writes what all pods of the namespace must agree on, where nobody wrote it before, and answers what stands.
--
-- KEYS[1] meta       hash
-- ARGV[1] protocol   number of the protocol of keys, scripts and claims
-- ARGV[2] pepper     check value of the pepper, 'none' without one
-- ARGV[3] upstream   fingerprint of what is refreshed at, '' when this pod does not say
--
-- Replies
--   {protocol, pepper, upstream}   as they stand; upstream '' when no pod ever said
assert(#KEYS == 1 and #ARGV == 3, 'meta: 1 key, 3 arguments')
local meta = KEYS[1]

redis.call('HSETNX', meta, 'protocol', ARGV[1])
redis.call('HSETNX', meta, 'pepper', ARGV[2])
if ARGV[3] ~= '' then
  redis.call('HSETNX', meta, 'upstream', ARGV[3])
end
local there = redis.call('HMGET', meta, 'protocol', 'pepper', 'upstream')
return {there[1], there[2], there[3] or ''}
