-- The queue for a permit: how a flight comes to one. Mirrors src/admission/budget.rs; the keys are told in budget.lua.

-- Where the clock was set back, a permit would outlive its dead holder by as much.
local function shorten_permits(budget)
  local longest = budget.now + budget.lease_ms
  for _, holder in ipairs(redis.call('ZRANGEBYSCORE', budget.permits, '(' .. string.format('%.0f', longest), '+inf')) do
    redis.call('ZADD', budget.permits, longest, holder)
  end
end

-- When a flight came, as long as the queue has it. What its pod says is later by as much as the message took.
local function came_at(budget, place, said_us)
  return tonumber(redis.call('ZSCORE', budget.queue, place) or said_us)
end

-- Whether a permit is there for a flight, once those that came before it have theirs. It is not taken yet. Returns
-- how many are out, and whether one of them is kept for this flight.
local function claim_place(budget, counter, place, came_us, is_queued, nobody_queues)
  local in_use = permits_in_use(budget, counter)
  if is_queued then
    redis.call('ZREM', budget.queue, place)
  end
  -- Also of one that does not say that it queues: it may have been told so, and the reply was lost on the way.
  if in_use > 0 and redis.call('ZSCORE', budget.permits, place) then
    return true, in_use, true
  end
  if not nobody_queues then
    in_use = hand_over(budget, in_use, came_us, place)
  end
  if in_use < budget.limit then
    return true, in_use, false
  end
  shorten_permits(budget)
  return false, in_use, false
end

-- Gives the owner the permit that claim_place found.
local function take_permit(budget, owner, place, in_use, is_called)
  if is_called then
    redis.call('ZREM', budget.permits, place)
  else
    in_use = in_use + 1
  end
  redis.call('ZADD', budget.permits, whole(budget.now + budget.lease_ms), owner)
  set_in_use(budget, in_use)
end

-- In how many ms waiting flights look, should nobody call: when the first permit ends, of those that are out or of those
-- that are handed over until then.
local function look_ms(budget)
  local first = redis.call('ZRANGE', budget.permits, 0, 0, 'WITHSCORES')
  return math.min(budget.called_ms, left_ms(first[2], budget.now, budget.lease_ms))
end

-- Lets a flight wait for its turn. Returns in how many ms to look.
local function queue_for_permit(budget, place, came_us)
  redis.call('ZADD', budget.queue, 'NX', came_us, place)
  keep_at_least(budget.queue, budget.wait_ms + budget.called_ms)
  return look_ms(budget)
end

-- A flight wants no permit any more.
local function leave_queue(budget, place)
  redis.call('ZREM', budget.queue, place)
  free_permit(budget, place)
  settle(budget)
end
