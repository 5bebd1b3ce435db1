-- Takes back the permits of lost holders, and calls the next of the queue. Sent by pods with queued flights, when the
-- first permit should have ended, or a called flight should have come: every other script that changes permits does the
-- same on the way.
--
-- KEYS[1] permits    sorted set, the flights that ask the provider now
-- KEYS[2] budget     string, how many do
-- KEYS[3] queue      sorted set, the clients whose flights wait for a permit
-- ARGV[1] lease_ms   how long a permit lasts unless it is renewed
-- ARGV[2] limit      how many permits there are
-- ARGV[3] called_ms  how long a permit is kept for a flight that was called from the queue
-- ARGV[4] channels   the channels of the pods, without the pod
--
-- Replies
--   {'reaped', look_ms, free}   look again after look_ms; so many permits are free, and nobody in the queue is to be
--                               called: a flight that waits all the same was called in vain
assert(#KEYS == 3 and #ARGV == 4, 'reap: 3 keys, 4 arguments')

local now = read_clock()
local budget = {permits = KEYS[1], counter = KEYS[2], queue = KEYS[3], lease_ms = tonumber(ARGV[1]),
  limit = tonumber(ARGV[2]), called_ms = tonumber(ARGV[3]), channels = ARGV[4], now = now}

shorten_permits(budget)
-- Also where nobody queues any more: a flight that was called in vain has left the queue, and waits for what it was given.
local in_use = hand_over(budget, permits_in_use(budget, redis.call('GET', budget.counter)))
-- Strangers that queue for their share of the permits are not to be called.
local is_empty = #redis.call('ZRANGE', budget.queue, 0, 0) == 0
return {'reaped', look_ms(budget), is_empty and math.max(0, budget.limit - in_use) or 0}
