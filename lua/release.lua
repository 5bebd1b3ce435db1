#!lua flags=allow-oom
-- Ends what a lost flight still holds: its lease, its permit and its probe are over at once, not when their time is.
-- Everything else goes on as after any lost leader: the record stays, and with it how long the token is left alone
-- (retry_lost_after), or that it is not presented again (uncertain = never). A leader that lives after all takes its
-- flight back at its next renewal, unless another leads by then.
--
-- Stands alone, as inspect.lua does.
--
-- KEYS[1] lock      string, the owner: the leader
-- KEYS[2] flight    hash, the record
-- KEYS[3] permits   sorted set, the flights that ask the provider now
-- KEYS[4] queue     sorted set, the clients whose flights wait for a permit
-- KEYS[5] circuit   hash, whether the provider is left in peace
-- ARGV[1] name      the flight's, for messages
-- ARGV[2] channels  the channels of the pods, without the pod
-- ARGV[3] act       'look', 'release', or 'force': also if the leader may live
-- ARGV[4] owner     the leader that is to be released, as it was looked at; nobody else is
--
-- Replies {word, owner, lease_ms, permit_ms, probe_ms, waiting, listeners}: what is left of each in ms, 'none' where it
-- is not held, 'endless' for a lease without an end; how many pods wait; how many connections listen for the leader's pod,
-- 'unknown' where that cannot be asked
--   'free'       nothing is held
--   'lives'      the leader may live: its pod listens, or it has renewed its lease lately; nothing was changed
--   'lost'       the leader is lost; nothing was changed
--   'changed'    another leader has the flight, or nobody; nothing was changed
--   'released'   all of it is over
assert(#KEYS == 5 and #ARGV == 4, 'release: 5 keys, 4 arguments')
local lock, flight, permits, queue, circuit = unpack(KEYS)
local name, channels, act, expected = unpack(ARGV)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local record, flat = {}, redis.call('HGETALL', flight)
for i = 1, #flat, 2 do
  record[flat[i]] = flat[i + 1]
end
local waiting = redis.pcall('HKEYS', (string.gsub(flight, 'flight:(%w+)$', 'waits:%1')))
local holder = redis.call('GET', lock)
local is_led = record.state == 'leading' or record.state == 'lost'
-- A lead that was given back has no pod.
local led_by = is_led and string.match(record.owner or '', '^[^-].*')
local owner = holder or led_by or ''
local pod, owner_fence, lease = string.match(owner, '^([^/]+)/(%d+)/(%d+)$')

-- A leader that lives renews its lease every third of it.
local lease_left, is_renewed_lately = 'none', false
if holder then
  local left = redis.call('PTTL', lock)
  lease_left = left < 0 and 'endless' or left
  is_renewed_lately = left >= 0 and left * 3 > (tonumber(lease) or 0)
end
local permit_left = redis.call('ZSCORE', permits, owner)
permit_left = permit_left and permit_left - now > 0 and permit_left - now or 'none'
local probe_left = owner_fence and redis.call('HGET', circuit, 'probe:' .. owner_fence)
probe_left = probe_left and math.max(0, (tonumber(string.match(probe_left, '^%d+')) or now) - now) or 'none'

local function reply(word)
  local listeners = 'unknown'
  if pod then
    -- It changes nothing: a pod that is told to look at a flight that it does not wait for has nothing to look for.
    local heard = redis.pcall('PUBLISH', channels .. pod, 'look ' .. name)
    listeners = type(heard) == 'number' and heard or listeners
  end
  return {word, owner, tostring(lease_left), tostring(permit_left), tostring(probe_left), #waiting, tostring(listeners)}
end

local looked = reply('lost')
if not holder and permit_left == 'none' and probe_left == 'none' then
  looked[1] = act == 'look' and 'free' or 'changed'
  return looked
elseif act ~= 'look' and owner ~= expected then
  looked[1] = 'changed'
  return looked
elseif act ~= 'force' and (is_renewed_lately or looked[7] ~= '0') then
  looked[1] = 'lives'
  return looked
elseif act == 'look' then
  return looked
end

redis.call('DEL', lock)
-- The permit ends now, as it does by itself: the next that counts them takes it back.
redis.call('ZADD', permits, 'XX', now, owner)
if owner_fence then
  redis.call('HDEL', circuit, 'probe:' .. owner_fence)
end
-- Last, and by pcall: pods that wait look again, and so does the first flight of each client in the queue, one of which may have a
-- permit now.
for _, waits in ipairs(waiting) do
  redis.pcall('PUBLISH', channels .. waits, 'look ' .. name)
end
for _, client in ipairs(redis.pcall('ZRANGE', queue, 0, -1)) do
  local first = redis.pcall('ZRANGE', queue .. ':' .. client, 0, 0)[1]
  local queued, queued_flight = string.match(first or '', '^(%S+) %S+ (%S+)$')
  if queued then
    redis.pcall('PUBLISH', channels .. queued, 'look ' .. queued_flight)
  end
end
looked[1] = 'released'
return looked
