-- Compares what all pods of the namespace must agree on, and writes what nobody wrote before. A pod that does not
-- agree leaves no trace.
--
-- KEYS[1] meta       hash
-- ARGV[1] protocol   number of the protocol of keys, scripts and claims
-- ARGV[2] pepper     check value of the pepper, 'none' without one
-- ARGV[3] upstream   fingerprint of what is refreshed at, '' when this pod does not say
--
-- Replies
--   {'agreed'}               they stand as this pod has them
--   {'differs', name, there} the first that does not; nothing was written
assert(#KEYS == 1 and #ARGV == 3, 'meta: 1 key, 3 arguments')
local meta = KEYS[1]

local ours = {protocol = ARGV[1], pepper = ARGV[2], upstream = ARGV[3]}
local names = {'protocol', 'pepper', 'upstream'}
local there = redis.call('HMGET', meta, unpack(names))
for i, name in ipairs(names) do
  if there[i] and ours[name] ~= '' and there[i] ~= ours[name] then
    return {'differs', name, there[i]}
  end
end
for i, name in ipairs(names) do
  if not there[i] and ours[name] ~= '' then
    redis.call('HSET', meta, name, ours[name])
  end
end
return {'agreed'}
