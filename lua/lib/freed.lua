-- A permit that is free again. Mirrors src/admission/budget.rs; the keys are told in permits.lua.

-- A permit is over before its time.
local function free_permit(budget, holder)
  if redis.call('ZREM', budget.permits, holder) == 1 and redis.call('DECR', budget.counter) <= 0 then
    redis.call('DEL', budget.counter)
  end
end
