#!lua flags=no-writes
-- Tells an operator how a flight, its session and the fleet stand, in lines to read. Writes nothing: Redis itself
-- refuses it by the first line, and replicas answer it, too.
--
-- Stands alone, because redis-cli sends one file (docs/redis-cli.md has the line that spells the keys):
--
--   redis-cli --raw --eval lua/inspect.lua <KEYS> [, shown]
--
-- KEYS                lock, flight, fence, incarnation, attempts, permits, budget, queue, circuit, meta; attempts:<flight> where the caller named no session
-- ARGV[1] shown       how many lines of each list are shown, 10 if it is not given
--
-- Replies lines of text; never the sealed outcome.
assert(#KEYS == 10 and #ARGV <= 1, 'inspect: 10 keys, at most 1 argument')
local shown = assert(tonumber(ARGV[1] or '10'), 'inspect: the argument is how many lines of each list are shown')

-- An operator who mistypes a key would otherwise read a wrong answer that looks right.
local names = {'lock:', 'flight:', 'fence', 'incarnation', 'attempts:', 'permits', 'budget', 'queue', 'circuit', 'meta'}
local tag = string.match(KEYS[1], '^rc:{[^}]+}:') or ''
for i, name in ipairs(names) do
  assert(tag ~= '' and string.sub(KEYS[i], 1, #tag + #name) == tag .. name,
    'inspect: key ' .. i .. ' is to be rc:{<namespace>}:' .. name)
end
local lock, flight, fence, incarnation, attempts, permits, budget, queue, circuit, meta = unpack(KEYS)
local flight_name, session_name = string.sub(flight, #tag + #'flight:' + 1), string.sub(attempts, #tag + #'attempts:' + 1)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local lines = {}
local function say(text, ...)
  lines[#lines + 1] = select('#', ...) > 0 and string.format(text, ...) or text
end

local function say_if(is_so, ...)
  if is_so then
    say(...)
  end
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
  say_if(count > shown, '  and %d more', count - math.max(0, shown))
end

local function ends(left, over)
  return left > 0 and 'ends in ' .. span(left) .. ' unless it is renewed' or over
end

-- The login of a token that several claims come with; its keys are in the slot of the others.
local function tell_family(id)
  local family, order = read_hash(tag .. 'family:' .. id)
  local newest, newest_flight = string.match(family.newest or '', '^(%d+) (%x+)$')
  if not next(family) then
    say('  several claims came with tokens of its login; nothing is known of them any more')
    return
  end
  say('  its login: %s come with tokens of it, %s', counted(#fields_after(order, 'e:'), 'claim', 'claims'),
    newest and 'the newest is token ' .. newest .. ', flight ' .. newest_flight or 'and none of them was presented for another')
  if left_ms(family.ended or 0) > 0 then
    say('  its session was ended for all of them')
  end
  local waiting = redis.call('ZCARD', tag .. 'order:' .. id)
  say_if(waiting > 0, '  ' .. counted(waiting, 'flight waits', 'flights wait') .. ' for its turn to present the newest token')
end

-- The flight: its leader, the pods that wait, what became of it.
local function tell_what_was_known(record)
  if record.known_before == 'lost_leaders' then
    say('  leaders were lost before it, %s in a row: the token may have been rotated by one', record.lost_leaders or '?')
  elseif record.known_before == 'rotated' then
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

-- For which clients the session was ended, and for how long that is remembered.
local function tell_ended(record, order, client)
  local marks = {}
  for _, client in ipairs(fields_after(order, 'ended:')) do
    if left_ms(record['ended:' .. client]) > 0 then
      marks[#marks + 1] = client
    end
  end
  if #marks == 0 then
    return
  end
  say('  the session was ended (logout) for each client below: it neither presents this token nor gets tokens for it')
  list(#marks, function(i)
    return '  client ' .. marks[i] .. (marks[i] == client and ', which this flight is of' or '') ..
      ', for ' .. span(left_ms(record['ended:' .. marks[i]])) .. ' more'
  end)
end

-- What its leader wrote of itself, each part as wide as it always is; a lead that was given back has no pod.
local function leader_of(record)
  local lead, owner = record.lead or '', record.owner or ''
  local function part(first, last)
    return string.match(string.sub(lead, first, last), '^%S+')
  end
  local is_given_back = string.sub(owner, 1, 2) == '-/'
  return {owner = not is_given_back and record.owner or nil, attempt = not is_given_back and part(1, 36) or nil,
    claim = part(38, 101), client = part(103, 166), leased_ms = string.match(owner, '/(%d+)$')}
end

local function tell_flight()
  local record, order = read_hash(flight)
  local leader = leader_of(record)
  local owner, state = redis.call('GET', lock), record.state
  say('flight %s', flight_name)

  if owner then
    local lease = redis.call('PTTL', lock)
    say('  led by %s; the lease %s', owner,
      ends(math.min(math.max(0, lease), tonumber(leader.leased_ms or lease)), 'is over'))
    if leader.owner == owner then
      say('  started %s, attempt %s', ago(record.started), leader.attempt or '?')
      tell_what_was_known(record)
    else
      say('  its record is of %s: the lock does not belong to it', leader.owner or 'nobody')
    end
  elseif state == 'leading' or state == 'lost' then
    say('  lost: the lease of %s ended without an outcome; started %s', leader.owner or 'a leader before',
      ago(record.started))
    say('  leaders lost in a row: %d', tonumber(record.lost_leaders or '0') + (state == 'leading' and 1 or 0))
    say('  nobody knows whether the token was rotated')
    say('  the next caller presents it again, but not before retry_lost_after has passed since the start, and a moment since')
    say('  it was missed')
    say('  with uncertain = never it is not presented again')
  elseif state == 'landed' then
    say('  landed %s: %s, %s', ago(record.landed_at), record.class, token_words[record.token_state] or record.token_state)
    say('  led by %s, attempt %s', leader.owner, leader.attempt)
    local fresh = left_ms(record.fresh_until, record.fresh_ms)
    if fresh > 0 then
      say('  callers get this outcome for %s more', span(fresh))
      if record.token_state == 'rotated' then
        say('  callers with another client or credential are refused as long (another_claim), other parameters unless they follow')
      end
    else
      say('  callers do not get it any more: the next one leads')
    end
  elseif record.given_until then
    say('  given %s by an answer that is held, and presented by nobody', ago(record.given_at))
  else
    say('  nobody leads it, and nothing is known of one before')
    if string.find(table.concat(redis.call('HGETALL', meta), ' '), ' refresh_tokens=reusable ', 1, true) then
      say('  refresh_tokens is reusable here: a flight is named by token and claim (docs/redis-cli.md)')
    end
  end
  if record.generation then
    say('  token %s of a chain, after flight %s; used up to token %s', record.generation, record.before, record.used)
  end
  local id = string.match(record.family or '', '^%x+')
  if id then
    tell_family(id)
  end
  say_if(leader.claim, '  claim %s', leader.claim)
  say_if(record.last_fence, '  the success before, of fence %s, landed %s', record.last_fence, ago(record.last_landed_at))

  tell_ended(record, order, leader.client)
  local attempts_of, waits = read_hash(tag .. 'waits:' .. flight_name)
  table.sort(waits)
  say(#waits == 0 and '  no other pod waits' or '  ' .. counted(#waits, 'other pod waits:', 'other pods wait:'))
  list(#waits, function(i) return '  ' .. waits[i] .. ', attempt ' .. attempts_of[waits[i]] end)
  local abandoned = fields_after(order, 'abandoned:')
  say_if(#abandoned > 0, '  ' .. counted(#abandoned, 'attempt was', 'attempts were') .. ' given up')
end

-- The session: why it is refused, and until when.
local function tell_session()
  local session, order = read_hash(attempts)
  say('session %s', session_name == flight_name and 'of this flight' or session_name)
  if #order == 0 then
    return say('  not refused: it led nothing lately')
  end
  -- Each claim has an account of its own, by the beginning of the claim where the caller named none.
  local accounts = fields_after(order, 'window_start:')
  for _, held in ipairs(fields_after(order, 'held_until:')) do
    if not session['window_start:' .. held] then
      accounts[#accounts + 1] = held
    end
  end
  for i = 1, math.min(#accounts, math.max(1, shown)) do
    local account = ':' .. accounts[i]
    say('  account %s', accounts[i])
    local cooling, held = left_ms(session['cooldown_until' .. account]), left_ms(session['held_until' .. account])
    if cooling > 0 then
      say('    refused for %s more: it led too often and cools down (cooling_down)', span(cooling))
    elseif held > 0 then
      say('    refused for %s more: the provider asked it to stay away (limited)', span(held))
    else
      say('    not refused, unless the next attempt is one too many')
    end
    -- With a cooldown the window is over.
    if session['attempts' .. account] and not session['cooldown_until' .. account] then
      say('    %s in the window that began %s', counted(session['attempts' .. account], 'attempt', 'attempts'),
        ago(session['window_start' .. account]))
    end
    local last = session['last_attempt' .. account] or session['window_start' .. account]
    say_if(last, '    the last attempt began %s', ago(last))
  end
  say_if(#accounts > 1 and #accounts > shown, '  and %d accounts more', #accounts - math.max(1, shown))
  say('  all of this is forgotten in %s', span(math.max(0, redis.call('PTTL', attempts))))
end

-- The circuit: whether it is open, why, until when; which probes are out.

local reason_words = {
  failures = 'flights failed in a row, or a probe failed',
  retry_after = 'the provider answered 503 with Retry-After',
  sessions_limited = 'the provider limited several sessions at once',
}

-- A probe ends with the lease that it was given with, which stands beside its end.
local function probe_left_ms(record, probe)
  local ends_at, lease_ms = string.match(record['probe:' .. probe], '^(%d+) (%d+)$')
  return left_ms(ends_at, lease_ms)
end

local function tell_circuit()
  local record, order = read_hash(circuit)
  local probes, out = fields_after(order, 'probe:'), 0
  for _, probe in ipairs(probes) do
    out = out + (probe_left_ms(record, probe) > 0 and 1 or 0)
  end

  local whom = record.open_for and 'nobody of client ' .. record.open_for or 'nobody'
  if not record.state then
    say('circuit closed: %s in a row', counted(record.failures or '0', 'failed flight', 'failed flights'))
  else
    local left = record.state == 'open' and left_ms(record.open_until, record.open_ms) or 0
    if left > 0 then
      say('circuit open for %s more: %s leads (circuit_open)', span(left), whom)
    elseif record.state == 'open' then
      say('circuit half-open: its time is over, the next flight is a probe')
    else
      say('circuit half-open: %s out; beyond breaker.half_open_requests %s leads (circuit_open)',
        counted(out, 'probe is', 'probes are'), whom)
    end
    say_if(record.open_for, '  to others it is closed: %s in a row', counted(record.failures or '0', 'failed flight', 'failed flights'))
    say('  it opened because %s (%s)', reason_words[record.opened_because] or 'of this', record.opened_because or '?')
    say('  by the outcome of %s; fences up to %s do not decide any more', record.opened_by or '?',
      record.opened_after or '?')
  end
  list(#probes, function(i)
    return 'probe of fence ' .. probes[i] .. ', ' .. ends(probe_left_ms(record, probes[i]), 'lost: it makes way')
  end)
  local limited = fields_after(order, 'limited:')
  say_if(#limited > 0, '  ' .. counted(#limited, 'session was', 'sessions were') .. ' limited by the provider lately:')
  list(#limited, function(i) return '  ' .. limited[i] .. ', ' .. ago(record['limited:' .. limited[i]]) end)
end

-- The budget: how many permits are out, who has them and until when; which flights queue, and since when.

local function tell_permits()
  local all = redis.call('ZCARD', permits)
  local out = #redis.call('ZRANGEBYSCORE', permits, '(' .. string.format('%.0f', now), '+inf')
  say(all == 0 and 'permits: none is out' or 'permits: ' .. counted(out, 'is out', 'are out'))
  local counter = tonumber(redis.call('GET', budget) or '0')
  say_if(counter ~= all, '  BUG: budget is %.0f, permits has %s', counter, counted(all, 'member', 'members'))
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

-- A line for each client; its key is in the slot of the others.
local function tell_line(client, turn)
  local line = queue .. ':' .. client
  local all = redis.call('ZCARD', line)
  say('  %s, %s:', client == 'strangers' and 'callers that are not known, after all others' or 'client ' .. client .. ', turn ' .. turn,
    counted(all, 'flight', 'flights'))
  local members = shown > 0 and redis.call('ZRANGE', line, 0, shown - 1, 'WITHSCORES') or {}
  list(all, function(i)
    local pod, waiting = string.match(members[2 * i - 1], '^(%S+) %S+ (%S+)$')
    return string.format('%d. pod %s, flight %s, came %s', i, pod or '?', waiting or '?', ago(members[2 * i] / 1000))
  end)
end

local function tell_queue()
  local clients, all = redis.call('ZRANGE', queue, 0, -1, 'WITHSCORES'), 0
  for i = 1, #clients, 2 do
    all = all + redis.call('ZCARD', queue .. ':' .. clients[i])
  end
  say(all == 0 and 'queue: nobody waits for a permit' or
    'queue: ' .. counted(all, 'flight waits for a permit', 'flights wait for a permit'))
  local most = math.max(shown, 10)
  for i = 1, math.min(#clients, 2 * most), 2 do
    tell_line(clients[i], clients[i + 1])
  end
  say_if(#clients > 2 * most, '  and %s', counted(#clients / 2 - most, 'more client', 'more clients'))
end

-- The register: which pods live, and what they go by.

local function tell_words(entry)
  local line = ''
  for word in string.gmatch(entry, '%S+') do
    if #line + #word > 110 then
      say('   ' .. line)
      line = ''
    end
    line = line .. ' ' .. word
  end
  say('   ' .. line)
end

local function tell_register()
  local register, order = read_hash(meta)
  if register.protocol == '1' then
    return say('meta: written by pods of protocol 1; DEL it when none of them lives any more')
  end
  local count, ways = 0, {}
  for _, pod in ipairs(fields_after(order, 'pod:')) do
    local ends, entry = string.match(register['pod:' .. pod], '^ends=(%d+) (.+)$')
    if ends and tonumber(ends) > now then
      local way = ways[entry] or {entry = entry, pods = {}, left = 0}
      if not ways[entry] then
        ways[entry], ways[#ways + 1] = way, way
      end
      way.pods[#way.pods + 1], way.left = pod, math.max(way.left, left_ms(ends))
      count = count + 1
    end
  end
  say(count == 0 and 'meta: no pod lives here' or 'meta: ' .. counted(count, 'pod lives', 'pods live') .. ' here')
  table.sort(ways, function(one, other) return one.entry < other.entry end)
  for i = 1, math.min(#ways, shown) do
    local way = ways[i]
    say('  %s by these settings; the last is gone in %s unless it writes itself in again',
      counted(#way.pods, 'goes', 'go'), span(way.left))
    tell_words(way.entry)
    if #ways > 1 then
      list(#way.pods, function(i) return '  pod ' .. way.pods[i] end)
    end
  end
  say_if(#ways > shown, '  and %d more ways', #ways - math.max(0, shown))
end

-- The fleet: whether it recovers, and which pods live.
local function tell_fleet()
  local server, recovers_at, recovers_ms = string.match(redis.call('GET', incarnation) or '', '^(%w+) (%d+) (%d+)$')
  local left = server and left_ms(recovers_at, recovers_ms) or 0
  if left > 0 then
    say('recovering for %s more: this server may have lost writes, and nobody is given a lead', span(left))
  else
    say(server and 'not recovering' or 'not recovering: no pod has started here since Redis was empty')
  end
  say_if(server, 'server %s decided last', server)
  local last = redis.call('GET', fence)
  say(last and 'fence ' .. last .. ' was given last' or 'fence: none was given yet')
  tell_register()
end

for _, tell in ipairs({tell_flight, tell_session, tell_circuit, tell_permits, tell_queue, tell_fleet}) do
  tell()
end
say('at %.0f ms of Redis\' time', now)
return lines
