-- How many flights ask the provider at once, and which is next. Mirrors src/admission/budget.rs; the keys are told in
-- permits.lua. Comes after it and lines.lua.

-- How many permits may be out for a client to get one more: the last quarter is for callers that are known.
local function limit_for(budget, client)
  return client == strangers and budget.limit - math.floor(budget.limit / 4) or budget.limit
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
  for _, client in ipairs(redis.call('ZRANGE', budget.queue, 0, -1)) do
    local leave = {}
    for _, place in ipairs(redis.call('ZRANGE', line_key(budget, client), 0, -1)) do
      local pod, flight = string.match(place, '^(%S+) %S+ (%S+)$')
      if silent[pod] then
        leave[#leave + 1] = place
        redis.pcall('PUBLISH', budget.channels .. pod, 'look ' .. flight)
      end
    end
    leave_line(budget, client, leave)
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

-- More permits are not counted: everybody waits for the script, and of so many each client has enough by turns.
local most_counted = 1000

-- How many permits each line has of those that were given while several queued. Returns whether several do: known clients,
-- because strangers are served after them anyway.
local function count_shares(budget, in_use, lines)
  local by_client = {}
  for _, line in ipairs(lines) do
    line.share = line.client == strangers and math.huge or 0
    by_client[line.client] = line
  end
  if #lines - (by_client[strangers] and 1 or 0) < 2 then
    return false
  end
  local is_read, noted = pcall(read_hash, shares_key(budget))
  if in_use > most_counted or not is_read then
    return true
  end
  local out = {}
  for _, holder in ipairs(redis.call('ZRANGE', budget.permits, 0, -1)) do
    out[holder] = true
  end
  for holder, client in pairs(noted) do
    if not out[holder] then
      redis.call('HDEL', shares_key(budget), holder)
    elseif by_client[client] then
      by_client[client].share = by_client[client].share + 1
    end
  end
  return true
end

-- The line that is served next: the one with the smallest share, among equals the one that got a permit longest ago.
local function next_line(lines)
  local first
  for _, line in ipairs(lines) do
    local is_before = not first or line.share < first.share or (line.share == first.share and line.turn < first.turn)
    if is_before and not line.is_over then
      first = line
    end
  end
  return first
end

-- Whether a flight is told that it has a permit. A pod that nobody listens for is dead or has lost its subscription: it gets
-- nothing, and should its flight come by itself, it brings its place along.
local function is_told(budget, place, silent)
  local pod, flight = string.match(place, '^(%S+) %S+ (%S+)$')
  if silent[pod] then
    return false
  end
  local heard = redis.pcall('PUBLISH', budget.channels .. pod, 'look ' .. flight)
  silent[pod] = not (type(heard) == 'number' and heard > 0)
  return not silent[pod]
end

-- Calls the first of a line, and gives up those before it that cannot be told. Returns the place that was called, nil where none
-- was yet.
local function call_first(budget, line, own_place, silent)
  -- The first is mostly there. A pod that was killed leaves thousands behind, and everybody waits for this script.
  local at_once = line.at_once or 1
  line.at_once = math.min(2 * at_once, 1000)
  local places, leave, called = redis.call('ZRANGE', line_key(budget, line.client), 0, at_once - 1), {}, nil
  for _, place in ipairs(places) do
    leave[#leave + 1] = place
    -- Whose flight sent this script needs no message.
    if place == own_place or is_told(budget, place, silent) then
      called, line.at_once = place, 1
      break
    end
  end
  leave_line(budget, line.client, leave)
  line.is_over = #places < at_once and #leave == #places
  return called
end

-- Hands free permits to waiting flights. Returns how many are out then.
--
-- The next flight is told by a message, and has the permit at once, so that nobody overtakes it; the one that sent this script
-- stands at own_place, if it queues.
local function hand_over(budget, in_use, own_place)
  local silent, lines, are_several = {}, nil, nil
  while in_use < budget.limit do
    local line = lines and next_line(lines)
    if not line then
      -- The first time, or when all of these have nobody left.
      lines = lines_of(budget)
      are_several = count_shares(budget, in_use, lines)
      line = next_line(lines)
    end
    if not line or in_use >= limit_for(budget, line.client) then
      break
    end
    local place = call_first(budget, line, own_place, silent)
    if place then
      redis.call('ZADD', budget.permits, whole(budget.now + budget.called_ms), place)
      in_use = in_use + 1
      -- At once: what is broken further on leaves the two equal.
      set_in_use(budget, in_use)
      if are_several and line.client ~= strangers then
        note_share(budget, place, line.client)
        line.share, line.turn = line.share + 1, last_turn(budget) + 1
        redis.call('ZADD', budget.queue, 'XX', whole(line.turn), line.client)
      end
    end
  end
  return in_use
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
