-- The permits that are out. Mirrors src/admission/budget.rs; budget.lua has who gets them.
--
-- permits  sorted set: holder -> when its permit ends. A leader holds it by its owner, until the end of its lease; a
--          flight that was called from the queue by its place there, until it has had the time to come
-- budget   string: how many permits are out. Compared with the limit and set by every script that changes permits, so
--          that the two are equal at every moment; they end together, too
-- queue    sorted set: '<pod> <attempt> <flight>' -> when it came, in us; of a caller that is not known, later by
--          strangers_after_us
--
-- budget: permits, counter, queue (keys), limit, lease_ms, called_ms, channels, now; wait_ms where flights queue

-- Strangers queue behind all that are known, by as much: no moment of this century is as late.
local strangers_after_us = 4000000000000000

-- The last quarter of the permits is for callers that are known.
local function share_of_strangers(limit)
  return limit - math.floor(limit / 4)
end

-- The longest lease that settings allow.
local longest_lease_of_all_ms = 10 * 60 * 1000

-- Both keys end with the last permit that can be out, and another pod's lease may be longer than this one's.
local function set_in_use(budget, in_use)
  local longest_ms = budget.lease_ms
  if in_use > 1 then
    longest_ms = math.max(longest_ms, math.min(longest_lease_of_all_ms, redis.call('PTTL', budget.permits)))
  end
  local ends = whole(budget.now + longest_ms)
  redis.call('SET', budget.counter, whole(in_use), 'PXAT', ends)
  redis.call('PEXPIREAT', budget.permits, ends)
end

-- The owner has its permit: one that was kept for its place in the queue is its own now, and counted already.
local function take_permit(budget, place, in_use, is_called)
  if is_called then
    redis.call('ZREM', budget.permits, place)
  else
    in_use = in_use + 1
  end
  set_in_use(budget, in_use)
end
