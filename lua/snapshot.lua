#!lua flags=no-writes
-- Tells how a flight, its session and the fleet stand, field by field: what inspect.lua tells in lines. Writes nothing.
--
-- KEYS                the ten of inspect.lua, in its order
-- ARGV[1] shown       how many members of permits and queue are told, and how many flights of each client that waits
--
-- Replies a flat list of names and what stands there; a hash is a flat list of fields, without outcomes. Beside these, counted over
-- all that there is: permits_out, those that are not over; queued, the flights that wait; oldest_ms, when the first of them
-- came, '' where none waits
assert(#KEYS == 10 and #ARGV == 1, 'snapshot: 10 keys, 1 argument')
local lock, flight, fence, incarnation, attempts, permits, budget, queue, circuit, meta = unpack(KEYS)
local last = tonumber(ARGV[1]) - 1
local time = redis.call('TIME')

-- Outcomes are sealed, and bytes that tell nothing.
local function without_outcomes(flat)
  local fields = {}
  for i = 1, #flat, 2 do
    if flat[i] ~= 'sealed' and flat[i] ~= 'last_sealed' and flat[i] ~= 'family_key' then
      fields[#fields + 1], fields[#fields + 2] = flat[i], flat[i + 1]
    end
  end
  return fields
end

local function members(key)
  return last >= 0 and redis.call('ZRANGE', key, 0, last, 'WITHSCORES') or {}
end

-- The flights of each client; their keys are in the slot of the others.
local waiting, clients = {}, members(queue)
for i = 1, #clients, 2 do
  local client = clients[i]
  waiting[#waiting + 1] = {client, redis.call('ZCARD', queue .. ':' .. client), members(queue .. ':' .. client)}
end

local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local queued, oldest_ms = 0, nil
for _, client in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
  local line = queue .. ':' .. client
  queued = queued + redis.call('ZCARD', line)
  local came = tonumber(redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')[2])
  if came then
    oldest_ms = math.min(oldest_ms or came / 1000, came / 1000)
  end
end

return {
  'at', now,
  'permits_out', #redis.call('ZRANGEBYSCORE', permits, '(' .. now, '+inf'),
  'queued', queued, 'oldest_ms', oldest_ms and string.format('%.0f', oldest_ms) or '',
  'lock', redis.call('GET', lock), 'lease_left_ms', redis.call('PTTL', lock),
  'flight', without_outcomes(redis.call('HGETALL', flight)),
  'attempts', redis.call('HGETALL', attempts), 'attempts_left_ms', redis.call('PTTL', attempts),
  'circuit', redis.call('HGETALL', circuit),
  'permits', members(permits), 'permits_count', redis.call('ZCARD', permits), 'budget', redis.call('GET', budget),
  'queue', clients, 'queue_count', redis.call('ZCARD', queue), 'waiting', waiting,
  'incarnation', redis.call('GET', incarnation), 'fence', redis.call('GET', fence),
  'meta', redis.call('HGETALL', meta),
}
