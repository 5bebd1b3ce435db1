-- Answers where scripts that write are let in; sent by pods at start, before they listen, and by pods that have lost Redis, until
-- it answers. Then Redis learns at once what the pod has seen, and what it has done alone meanwhile.
--
-- KEYS[1] fence       string, the last fence given
-- KEYS[2] incarnation string, the server that decided last, and until when it recovers
-- KEYS[3] meta        hash, the register of living pods
-- ARGV[1] seen        the highest fence the pod has seen
-- ARGV[2] given       the highest fence the pod gave itself without Redis, 0 if none
-- ARGV[3] lease_ms    how long a lease is
-- ARGV[4] channels    the channels of the pods, without the pod
-- ARGV[5] pod         the caller's pod
--
-- Replies
--   {'ready'}   whatever is given from now on is higher than both
assert(#KEYS == 3 and #ARGV == 5, 'ready: 3 keys, 5 arguments')
local fence, incarnation, meta = unpack(KEYS)
local seen, given, lease_ms, channels, pod = fence_number(ARGV[1]), fence_number(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]

local now = read_clock()
local last, noted = unpack(redis.call('MGET', fence, incarnation))
last = fence_number(last)
-- First what Redis gave and may have forgotten; only then what it never knew.
recover({fence = fence, incarnation = incarnation, meta = meta, fleet = fleet_of(channels), channel = channels .. pod,
  lease_ms = lease_ms, now = now}, noted, last, seen, seen > 0)
local highest = math.max(seen, given)
if last < highest then
  redis.call('SET', fence, whole(highest))
end
return {'ready'}
