-- How many permits are out. The keys are told in permits.lua.
--
-- budget: permits, counter (keys), lease_ms, now

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
