#!lua flags=no-writes
-- Tells an operator how a flight, its session and the fleet stand, in lines to read. Writes nothing: Redis itself
-- refuses it by the first line, and replicas answer it, too.
--
-- Stands alone, because redis-cli sends one file (docs/redis-cli.md has the line that spells the keys):
--
--   redis-cli --raw --eval lua/inspect.lua <KEYS> [, shown]
--
-- KEYS[1] lock        string, the owner: the leader
-- KEYS[2] flight      hash, the record
-- KEYS[3] fence       string, the last fence given
-- KEYS[4] recovering  string, stands for one lease after Redis was found to have forgotten
-- KEYS[5] attempts    hash, how often the session led; attempts:<flight> where the caller named no session
-- KEYS[6] permits     sorted set, the flights that ask the provider now
-- KEYS[7] budget      string, how many do
-- KEYS[8] queue       sorted set, the flights that wait for a permit
-- KEYS[9] circuit     hash, whether the provider is left in peace
-- KEYS[10] meta       hash, what all pods must agree on
-- ARGV[1] shown       how many lines of each list are shown, 10 if it is not given
--
-- Replies
--   lines of text; never the sealed outcome
assert(#KEYS == 10 and #ARGV <= 1, 'inspect: 10 keys, at most 1 argument')
local shown = tonumber(ARGV[1] or '10')
assert(shown, 'inspect: the argument is how many lines of each list are shown')

-- An operator who mistypes a key would otherwise read a wrong answer that looks right.
local names = {'lock:', 'flight:', 'fence', 'recovering', 'attempts:', 'permits', 'budget', 'queue', 'circuit', 'meta'}
local tag = string.match(KEYS[1], '^rc:{[^}]+}:') or ''
local after_tag = {}
for i, name in ipairs(names) do
  after_tag[i] = string.sub(KEYS[i], #tag + 1)
  assert(tag ~= '' and string.sub(KEYS[i], 1, #tag + #name) == tag .. name,
    'inspect: key ' .. i .. ' is to be rc:{<namespace>}:' .. name)
end
local lock, flight, fence, recovering, attempts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local permits, budget, queue, circuit, meta = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local flight_name, session_name = string.sub(after_tag[2], #'flight:' + 1), string.sub(after_tag[5], #'attempts:' + 1)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local lines = {}
local function say(text, ...)
  lines[#lines + 1] = select('#', ...) > 0 and string.format(text, ...) or text
end

local function span(ms)
  if ms < 120 * 1000 then
    return string.format('%.1f s', ms / 1000)
  elseif ms < 2 * 60 * 60 * 1000 then
    return string.format('%d min %d s', math.floor(ms / 60000), math.floor(ms % 60000 / 1000))
  end
  return string.format('%d h %d min', math.floor(ms / 3600000), math.floor(ms % 3600000 / 60000))
end

-- As in lib/clock.lua: a stamp in the future counts as now.
local function ago(stamp)
  return span(math.max(0, now - (tonumber(stamp) or now))) .. ' ago'
end

-- As in lib/clock.lua: no remaining time is longer than the whole span, where that is known.
local function left_ms(stamp, longest)
  return math.min(tonumber(longest) or math.huge, math.max(0, (tonumber(stamp) or now) - now))
end

local function counted(number, one, many)
  return string.format('%.0f %s', number, tonumber(number) == 1 and one or many)
end

-- A hash by name, and its fields in the order in which Redis keeps them.
local function read_hash(key)
  local flat, fields, order = redis.call('HGETALL', key), {}, {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
    order[#order + 1] = flat[i]
  end
  return fields, order
end

-- What follows the prefix, of the fields that begin so.
local function fields_after(order, prefix)
  local found = {}
  for _, field in ipairs(order) do
    if string.sub(field, 1, #prefix) == prefix then
      found[#found + 1] = string.sub(field, #prefix + 1)
    end
  end
  return found
end

-- The first of a list that may be long, and how many there are besides.
local function list(count, line_of)
  for i = 1, math.min(count, shown) do
    say('  ' .. line_of(i))
  end
  if count > shown then
    say('  and %d more', count - math.max(0, shown))
  end
end

local function ends(left, over)
  return left > 0 and 'ends in ' .. span(left) .. ' unless it is renewed' or over
end

-- The flight: its leader, the pods that wait, what became of it.

local function tell_what_was_known(record)
  if record.before == 'lost_leaders' then
    say('  leaders were lost before it, %s in a row: the token may have been rotated by one', record.lost or '?')
  elseif record.before == 'rotated' then
    say('  the token was rotated before: the provider may take it for stolen')
  end
end

local token_words = {
  rotated = 'the provider took the token and gave a new one',
  kept = 'the provider took the token and it stays valid',
  dead = 'the token is dead',
  untouched = 'the token is untouched',
  unknown = 'nobody knows whether the token was rotated; with uncertain = never it is not presented again',
}

local function tell_flight()
  local record, order = read_hash(flight)
  local owner, state = redis.call('GET', lock), record.state
  say('flight %s', flight_name)

  if owner then
    local lease = redis.call('PTTL', lock)
    say('  led by %s; the lease %s', owner,
      ends(math.min(math.max(0, lease), tonumber(record.lease_ms or lease)), 'is over'))
    if record.owner == owner then
      say('  started %s, attempt %s', ago(record.started), record.attempt or '?')
      tell_what_was_known(record)
    else
      say('  its record is of %s: the lock does not belong to it', record.owner or 'nobody')
    end
  elseif state == 'leading' or state == 'lost' then
    say('  lost: the lease of %s ended without an outcome; started %s', record.owner or 'a leader before',
      ago(record.started))
    say('  leaders lost in a row: %d', tonumber(record.lost or '0') + (state == 'leading' and 1 or 0))
    say('  nobody knows whether the token was rotated')
    say('  whoever asks presents it again, but not before retry_lost_after has passed since the start, and a moment since')
    say('  it was missed')
    say('  with uncertain = never it is not presented again')
  elseif state == 'landed' then
    say('  landed %s: %s, %s', ago(record.landed_at), record.class, token_words[record.token] or record.token)
    say('  led by %s, attempt %s', record.owner, record.attempt)
    local fresh = left_ms(record.fresh_until, record.fresh_ms)
    if fresh > 0 then
      say('  callers get this outcome for %s more', span(fresh))
      if record.token == 'rotated' then
        say('  callers with another client, credential or parameter are refused as long (another_claim)')
      end
    else
      say('  callers do not get it any more: the next one leads')
    end
  else
    say('  nobody leads it, and nothing is known of one before')
  end
  if record.claim then
    say('  claim %s', record.claim)
  end
  if record.last_fence then
    say('  the success before, of fence %s, landed %s', record.last_fence, ago(record.last_landed_at))
  end

  local waits = fields_after(order, 'waits:')
  say(#waits == 0 and '  no other pod waits' or '  ' .. counted(#waits, 'other pod waits:', 'other pods wait:'))
  list(#waits, function(i)
    return '  ' .. waits[i] .. ', attempt ' .. record['waits:' .. waits[i]]
  end)
  local gone = fields_after(order, 'gone:')
  if #gone > 0 then
    say('  ' .. counted(#gone, 'attempt was', 'attempts were') .. ' given up')
  end
end

-- The session: why it is refused, and until when.
local function tell_session()
  local session, order = read_hash(attempts)
  say('session %s', session_name == flight_name and 'of this flight' or session_name)
  if #order == 0 then
    say('  not refused: it led nothing lately')
    return
  end
  local cooling, held = left_ms(session.cooldown_until), left_ms(session.held_until)
  if cooling > 0 then
    say('  refused for %s more: it led too often and cools down (cooling_down)', span(cooling))
  elseif held > 0 then
    say('  refused for %s more: the provider asked it to stay away (limited)', span(held))
  else
    say('  not refused, unless the next attempt is one too many')
  end
  if session.attempts then
    say('  %s in the window that began %s', counted(session.attempts, 'attempt', 'attempts'), ago(session.window_start))
  end
  if session.last_attempt then
    say('  the last attempt began %s', ago(session.last_attempt))
  end
  say('  all of this is forgotten in %s', span(math.max(0, redis.call('PTTL', attempts))))
end

-- The circuit: whether it is open, why, until when; which probes are out.

local why_words = {
  failures = 'flights failed in a row, or a probe failed',
  retry_after = 'the provider answered 503 with Retry-After',
  sessions_limited = 'the provider limited several sessions at once',
}

local function tell_circuit()
  local record, order = read_hash(circuit)
  local probes = fields_after(order, 'probe:')
  local out = 0
  for _, probe in ipairs(probes) do
    out = out + (left_ms(record['probe:' .. probe]) > 0 and 1 or 0)
  end

  if not record.state then
    say('circuit closed: %s in a row', counted(record.failures or '0', 'failed flight', 'failed flights'))
  else
    local left = record.state == 'open' and left_ms(record.open_until, record.open_ms) or 0
    if left > 0 then
      say('circuit open for %s more: nobody leads (circuit_open)', span(left))
    elseif record.state == 'open' then
      say('circuit half-open: its time is over, the next flight is a probe')
    else
      say('circuit half-open: %s out; beyond breaker.half_open_requests nobody leads (circuit_open)',
        counted(out, 'probe is', 'probes are'))
    end
    say('  it opened because %s (%s)', why_words[record.why] or 'of this', record.why or '?')
    say('  by the outcome of %s; fences up to %s do not decide any more', record.opened_by or '?',
      record.opened_after or '?')
  end
  list(#probes, function(i)
    return 'probe of fence ' .. probes[i] .. ', ' .. ends(left_ms(record['probe:' .. probes[i]]), 'lost: it makes way')
  end)
  local limited = fields_after(order, 'limited:')
  if #limited > 0 then
    say('  ' .. counted(#limited, 'session was', 'sessions were') .. ' limited by the provider lately:')
  end
  list(#limited, function(i)
    return '  ' .. limited[i] .. ', ' .. ago(record['limited:' .. limited[i]])
  end)
end

-- The budget: how many permits are out, who has them and until when; which flights queue, and since when.

local function tell_permits()
  local all = redis.call('ZCARD', permits)
  local out = redis.call('ZCOUNT', permits, '(' .. string.format('%.0f', now), '+inf')
  say(all == 0 and 'permits: none is out' or 'permits: ' .. counted(out, 'is out', 'are out'))
  local counter = tonumber(redis.call('GET', budget) or '0')
  if counter ~= all then
    say('  BUG: budget is %.0f, permits has %s', counter, counted(all, 'member', 'members'))
  end
  local members = shown > 0 and redis.call('ZRANGE', permits, 0, shown - 1, 'WITHSCORES') or {}
  list(all, function(i)
    local holder, left = members[2 * i - 1], left_ms(members[2 * i])
    local pod, called = string.match(holder, '^(%S+) %S+ (%S+)$')
    if pod then
      return 'kept for pod ' .. pod .. ', flight ' .. called .. ', called from the queue: ' ..
        (left > 0 and 'ends in ' .. span(left) or 'did not come, free for others')
    end
    return holder .. ', ' .. ends(left, 'lost: free for others')
  end)
end

local function tell_queue()
  local all = redis.call('ZCARD', queue)
  say(all == 0 and 'queue: nobody waits for a permit' or
    'queue: ' .. counted(all, 'flight waits for a permit', 'flights wait for a permit'))
  local members = shown > 0 and redis.call('ZRANGE', queue, 0, shown - 1, 'WITHSCORES') or {}
  list(all, function(i)
    local pod, waiting = string.match(members[2 * i - 1], '^(%S+) %S+ (%S+)$')
    return string.format('%d. pod %s, flight %s, came %s', i, pod or '?', waiting or '?', ago(members[2 * i] / 1000))
  end)
end

-- The fleet: whether it recovers, and what all pods agree on.
local function tell_fleet()
  local left = redis.call('PTTL', recovering)
  if left > 0 then
    say('recovering for %s more: Redis has forgotten fences, and nobody is given a lead (recovering)', span(left))
  else
    say('not recovering: Redis has forgotten nothing')
  end
  local last = redis.call('GET', fence)
  say(last and 'fence ' .. last .. ' was given last' or 'fence: none was given yet')

  local agreed, order = read_hash(meta)
  if #order == 0 then
    say('meta: nothing, no pod has started here since Redis was empty')
    return
  end
  say('meta: what all pods agree on')
  say('  protocol %s', agreed.protocol or '?')
  say('  pepper %s', agreed.pepper == 'none' and 'none' or 'with check value ' .. (agreed.pepper or '?'))
  say('  upstream %s', agreed.upstream and 'with fingerprint ' .. agreed.upstream or 'not said')
end

tell_flight()
tell_session()
tell_circuit()
tell_permits()
tell_queue()
tell_fleet()
say('at %.0f ms of Redis\' time', now)
return lines
