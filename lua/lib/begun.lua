-- What begin.lua needs where there is more to say than that the caller leads. Names that script's keys and arguments as it does.

-- PARTS HERE: names
local attempt, client = string.sub(caller, 1, 36), string.sub(caller, 103, 166)
local client_name, standing = string.match(caller, '^(%w+) (%w*)$', 185)
local permits = tag .. 'permits'
local budget = {permits = permits, counter = in_use_key, queue = queue, limit = limit, lease_ms = lease_ms,
  called_ms = called_ms, wait_ms = budget_wait_ms, channels = channels_of(tag), now = now}
-- The caller's place in the queue.
local place = pod .. ' ' .. attempt .. ' ' .. name_of(flight)

-- Asked only where it matters.
local function is_stranger()
  -- PARTS HERE: known
  return not is_known(known_keys(tag, now), client, standing)
end

-- The answer to a flight that neither leads nor queues: it queues no longer, and a permit that was kept for it goes to
-- the next.
local function done(reply)
  if waited_us then
    -- PARTS HERE: hash spans keep in_use permits lines freed budget queue
    leave_queue(budget, place, client_name)
  end
  return reply
end

-- Registered in the same step, so there is no gap between looking and waiting.
local function wait_for_flight()
  -- PARTS HERE: keep waiting
  local waits = waits_of(flight)
  redis.call('HSET', waits, pod, attempt)
  keep_at_least(waits, longest_wait_ms)
  keep_at_least(flight, longest_wait_ms)
end
