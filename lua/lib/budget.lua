-- How many flights ask the provider at once, and which is next. Mirrors src/admission/budget.rs; the keys are told in
-- permits.lua. Comes after it.

-- Strangers queue behind all that are known, by as much: no moment of this century is as late.
local strangers_after_us = 4000000000000000

-- The last quarter of the permits is for callers that are known.
local function share_of_strangers(limit)
  return limit - math.floor(limit / 4)
end

-- Flights that were called and did not come belong to pods that are stopped or cut off, though redis may not know it
-- yet. Their other places are given up, or each of them would keep a permit from the others for as long. They are told
-- to look: a pod that goes on after all comes again, and brings their places along.
local function give_way(budget, ended)
  local silent
  for _, holder in ipairs(ended) do
    -- A leader's permit is held by its owner, which has no blank.
    local pod = string.match(holder, '^(%S+) ')
    if pod then
      silent = silent or {}
      silent[pod] = true
    end
  end
  if not silent then
    return
  end
  for _, place in ipairs(redis.call('ZRANGE', budget.queue, 0, -1)) do
    local pod, flight = string.match(place, '^(%S+) %S+ (%S+)$')
    if silent[pod] then
      redis.call('ZREM', budget.queue, place)
      redis.pcall('PUBLISH', budget.channels .. pod, 'look ' .. flight)
    end
  end
end

-- Permits that are out and not over. counter: what stands in the key.
local function permits_in_use(budget, counter)
  local in_use = tonumber(counter or '0')
  if in_use == 0 then
    return 0
  end
  local ended = redis.call('ZRANGEBYSCORE', budget.permits, '-inf', whole(budget.now))
  if #ended == 0 then
    return in_use
  end
  redis.call('ZREMRANGEBYSCORE', budget.permits, '-inf', budget.now)
  in_use = math.max(0, in_use - #ended)
  if in_use == 0 then
    redis.call('DEL', budget.counter)
  else
    redis.call('SET', budget.counter, in_use, 'KEEPTTL')
  end
  give_way(budget, ended)
  return in_use
end

-- Hands free permits to waiting flights in the order of their arrival. Stops before those that came at before_us, and at
-- own_place, which leaves the queue: its flight sent this script, and asks by itself. Returns how many are out then.
--
-- The next flight is told by a message, and has the permit at once, so that nobody overtakes it. A pod that nobody
-- listens for is dead or has lost its subscription: it gets nothing, and should its flight come by itself, it brings
-- its place along.
local function hand_over(budget, in_use, before_us, own_place)
  local handed, silent, at_once, is_over = 0, {}, 1, false
  while in_use + handed < budget.limit and not is_over do
    local first, leave = redis.call('ZRANGE', budget.queue, 0, at_once - 1, 'WITHSCORES'), {}
    is_over = #first == 0
    for i = 1, #first, 2 do
      local place, came_us = first[i], tonumber(first[i + 1])
      local limit = came_us >= strangers_after_us and share_of_strangers(budget.limit) or budget.limit
      is_over = in_use + handed >= limit or (before_us and came_us >= before_us)
      if is_over then
        break
      end
      leave[#leave + 1] = place
      is_over = place == own_place
      if is_over then
        break
      end
      local pod = string.sub(place, 1, string.find(place, ' ', 1, true) - 1)
      if not silent[pod] then
        local heard = redis.pcall('PUBLISH', budget.channels .. pod, 'look ' .. string.match(place, '^%S+ %S+ (%S+)$'))
        if type(heard) == 'number' and heard > 0 then
          redis.call('ZADD', budget.permits, budget.now + budget.called_ms, place)
          handed = handed + 1
        else
          silent[pod] = true
        end
      end
    end
    if #leave > 0 then
      redis.call('ZREM', budget.queue, unpack(leave))
    end
    -- The first is mostly there. A pod that was killed leaves thousands behind, and everybody waits for this script.
    at_once = math.min(2 * at_once, 1000)
  end
  if handed > 0 then
    set_in_use(budget, in_use + handed)
  end
  return in_use + handed
end

-- A leader that lives keeps its permit; one that was late has it again, because it does ask the provider.
local function renew_permit(budget, owner)
  local in_use = permits_in_use(budget, redis.call('GET', budget.counter))
  in_use = in_use + redis.call('ZADD', budget.permits, budget.now + budget.lease_ms, owner)
  set_in_use(budget, in_use)
end

-- What has come free is handed on. Where no flight queues there is nothing to ask: the next that comes takes back what
-- has ended.
local function settle(budget)
  if #redis.call('ZRANGE', budget.queue, '0', '0') > 0 then
    hand_over(budget, permits_in_use(budget, redis.call('GET', budget.counter)))
  end
end
