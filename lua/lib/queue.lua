-- The queue for a permit: how a flight comes to one. Mirrors src/admission/budget.rs; the keys are told in permits.lua. Comes after
-- lines.lua and budget.lua.

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

-- Where a flight queues already, and since when. What its pod says is later by as much as the message took.
local function find_place(budget, place, client)
  for _, line in ipairs({client, strangers}) do
    local came_us = redis.call('ZSCORE', line_key(budget, line), place)
    if came_us then
      return line, tonumber(came_us)
    end
  end
end

-- A client that begins to queue comes after all others.
local function enter_line(budget, client, place, came_us)
  redis.call('ZADD', line_key(budget, client), 'NX', whole(came_us), place)
  if client == strangers then
    redis.call('ZADD', budget.queue, whole(turn_of_strangers), strangers)
  elseif not redis.call('ZSCORE', budget.queue, client) then
    redis.call('ZADD', budget.queue, whole(last_turn(budget) + 1), client)
  end
  keep_at_least(line_key(budget, client), budget.wait_ms + budget.called_ms)
  keep_at_least(budget.queue, budget.wait_ms + budget.called_ms)
end

-- In how many ms waiting flights look, should nobody call: when the first permit ends, of those that are out or of those
-- that are handed over until then.
local function look_ms(budget)
  local first = redis.call('ZRANGE', budget.permits, 0, 0, 'WITHSCORES')
  return math.min(budget.called_ms, left_ms(first[2], budget.now, budget.lease_ms))
end

-- A flight wants no permit any more.
local function leave_queue(budget, place, client)
  leave_line(budget, client, {place})
  leave_line(budget, strangers, {place})
  free_permit(budget, place)
  settle(budget)
end

-- A permit for a flight, or its place in the queue. caller: client, now_us, waited_us, is_quiet, is_stranger, waits, is_background.
-- Strangers leave a share of the permits to known callers, who queue before them; a flight that nobody waits for gets a permit that
-- nobody wants, of the first half. Returns whether one is free, how many are out, and whether it was reserved. It is not taken yet.
local function seek_permit(budget, counter, place, caller)
  local is_queue = not caller.is_quiet and #redis.call('ZRANGE', budget.queue, 0, 0) > 0
  if caller.is_background then
    local out = permits_in_use(budget, counter)
    return not is_queue and out < math.max(1, math.floor(budget.limit / 2)), out, false
  end
  local client, came_us
  if caller.waited_us then
    client, came_us = find_place(budget, place, caller.client)
  end
  if client and not is_queue then
    -- Redis has the line, and has lost the queue: it would be called there in vain.
    leave_line(budget, client, {place})
  elseif not client then
    local is_short = is_queue or tonumber(counter or '0') >= limit_for(budget, strangers)
    client = is_short and caller.is_stranger() and strangers or caller.client
    came_us = caller.now_us - (caller.waited_us or 0)
  end
  local in_use = permits_in_use(budget, counter)
  -- Also of one that does not say that it queues: it may have been told so, and the reply was lost on the way.
  if in_use > 0 and redis.call('ZSCORE', budget.permits, place) then
    return true, in_use, true
  end
  if is_queue then
    -- It is served in its turn, like all that queue.
    enter_line(budget, client, place, came_us)
    in_use = hand_over(budget, in_use, place)
    if redis.call('ZSCORE', budget.permits, place) then
      return true, in_use, true
    end
  elseif in_use < limit_for(budget, client) then
    return true, in_use, false
  end
  shorten_permits(budget)
  if caller.waits and not is_queue then
    enter_line(budget, client, place, came_us)
  elseif is_queue and not caller.waits then
    leave_line(budget, client, {place})
  end
  return false, in_use, false
end
