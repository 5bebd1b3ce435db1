-- The queue for a permit: how a flight comes to one. Mirrors src/admission/budget.rs; the keys are told in permits.lua. Comes after
-- budget.lua.

-- Where the clock was set back, a permit would outlive its dead holder by as much. A leader's permit was given for the lease
-- in its owner.
local function shorten_permits(budget)
  local after = '(' .. whole(budget.now + budget.lease_ms)
  local late = redis.call('ZRANGEBYSCORE', budget.permits, after, '+inf', 'WITHSCORES')
  for i = 1, #late, 2 do
    local longest = budget.now + tonumber(string.match(late[i], '/(%d+)$') or budget.lease_ms)
    if tonumber(late[i + 1]) > longest then
      redis.call('ZADD', budget.permits, whole(longest), late[i])
    end
  end
end

-- When a flight came, as long as the queue has it. What its pod says is later by as much as the message took.
local function came_at(budget, place, said_us)
  return tonumber(redis.call('ZSCORE', budget.queue, place) or said_us)
end

-- Whether a permit is there for a flight, once those that came before it have theirs. It is not taken yet. Returns
-- how many are out, and whether one of them is kept for this flight.
local function claim_place(budget, counter, place, came_us, is_queued, nobody_queues)
  local limit = came_us >= strangers_after_us and share_of_strangers(budget.limit) or budget.limit
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
  if in_use < limit then
    return true, in_use, false
  end
  shorten_permits(budget)
  return false, in_use, false
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

-- A permit for a flight, or its place in the queue. caller: now_us, waited_us, is_quiet, is_stranger. Strangers leave a share of
-- the permits to known callers, who queue before them. Returns whether one is free, how many are out, whether it was reserved, and
-- since when the flight counts as waiting.
local function seek_permit(budget, in_use_there, place, caller)
  local came_us = caller.now_us - (caller.waited_us or 0)
  local is_short = tonumber(in_use_there or '0') >= share_of_strangers(budget.limit)
    or (not caller.is_quiet and #redis.call('ZRANGE', budget.queue, '0', '0') > 0)
  if is_short and caller.is_stranger() then
    came_us = came_us + strangers_after_us
  end
  if caller.waited_us then
    came_us = came_at(budget, place, came_us)
  end
  local is_free, in_use, is_called =
    claim_place(budget, in_use_there, place, came_us, caller.waited_us, caller.is_quiet)
  return is_free, in_use, is_called, came_us
end
