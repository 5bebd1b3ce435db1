-- Whether the provider is to be left in peace. Mirrors src/admission/circuit.rs.
--
-- circuit  hash; no state means closed
--   state             open, half_open
--   failures          failed flights in a row
--   open_until        when the first probe may go; open_ms is the span that ends then
--   why               failures, retry_after, sessions_limited
--   opened_by         the owner whose outcome opened it
--   opened_after      the last fence given before: what was sent until then does not decide
--   probe:<fence>     a probe that is out -> the end of its lease
--   limited:<session> a session that the provider limited lately -> when
--
-- rules: max_failures, open_ms, half_open, quiet_ms, lease_ms

-- Nobody knows when a probe comes back: a pause that is fair to all.
local fair_pause_ms = 1000
-- So many sessions that are limited within this time are a limit of everybody.
local limited_sessions, limited_within_ms = 3, 10000

-- The fields that begin so, by what follows.
local function fields_after(record, prefix)
  local found = {}
  for field, value in pairs(record) do
    if string.sub(field, 1, #prefix) == prefix then
      found[string.sub(field, #prefix + 1)] = value
    end
  end
  return found
end

-- 'free', 'probe', or nil and for how long nobody is led.
local function judge_circuit(key, circuit, now, rules)
  if circuit.state == 'open' then
    local left = left_of(key, circuit, 'open_until', now, tonumber(circuit.open_ms))
    if left > 0 then
      return nil, left
    end
    return 'probe'
  elseif circuit.state == 'half_open' then
    local out, first = 0, fair_pause_ms
    for probe in pairs(fields_after(circuit, 'probe:')) do
      local left = left_of(key, circuit, 'probe:' .. probe, now, rules.lease_ms)
      if left > 0 then
        out, first = out + 1, math.min(first, left)
      end
    end
    if out < rules.half_open then
      return 'probe'
    end
    return nil, first
  end
  return 'free'
end

-- A flight that may pass as a probe is led. Those whose leaders are lost make way.
local function take_probe(key, circuit, fence, now, rules)
  for probe, ends in pairs(fields_after(circuit, 'probe:')) do
    if left_ms(ends, now, rules.lease_ms) == 0 then
      redis.call('HDEL', key, 'probe:' .. probe)
    end
  end
  redis.call('HSET', key, 'state', 'half_open', 'probe:' .. fence, now + rules.lease_ms)
  redis.call('PEXPIRE', key, rules.lease_ms + rules.quiet_ms)
end

-- A leader that lives keeps its probe, if it has one.
local function renew_probe(key, fence, now, rules)
  if redis.call('HEXISTS', key, 'probe:' .. fence) == 1 then
    redis.call('HSET', key, 'probe:' .. fence, now + rules.lease_ms)
    redis.call('PEXPIRE', key, rules.lease_ms + rules.quiet_ms)
  end
end

local function open_circuit(key, circuit, now, rules, opening)
  for field in pairs(circuit) do
    if string.match(field, '^probe:') or string.match(field, '^limited:') then
      redis.call('HDEL', key, field)
    end
  end
  redis.call('HSET', key, 'state', 'open', 'why', opening.why, 'open_until', now + opening.pause_ms,
    'open_ms', opening.pause_ms, 'opened_by', opening.by, 'opened_after', opening.after)
  redis.call('HDEL', key, 'failures')
  redis.call('PEXPIRE', key, opening.pause_ms + rules.quiet_ms)
end

-- Learns from a flight that landed. flown: owner, fence, session, verdict (healthy, failing, neutral,
-- session_limited, fleet_limited), retry_ms (nil when the provider named none).
local function learn(key, circuit, fence_key, flown, now, rules)
  local was_probe = circuit['probe:' .. flown.fence]
  if was_probe then
    redis.call('HDEL', key, 'probe:' .. flown.fence)
    circuit['probe:' .. flown.fence] = nil
  end

  local opening
  if flown.verdict == 'failing' then
    opening = {why = 'failures', pause_ms = rules.open_ms}
  elseif flown.verdict == 'fleet_limited' then
    opening = {why = 'retry_after', pause_ms = math.min(flown.retry_ms, 5 * 60 * 1000)}
  end

  if circuit.state == 'open' then
    -- Nothing was admitted since it opened.
    return
  elseif circuit.state == 'half_open' then
    if not was_probe or left_ms(was_probe, now, rules.lease_ms) == 0 then
      return
    end
    if flown.verdict == 'healthy' then
      for probe in pairs(fields_after(circuit, 'probe:')) do
        redis.call('HDEL', key, 'probe:' .. probe)
      end
      redis.call('HDEL', key, 'state', 'why', 'open_until', 'open_ms', 'opened_by')
      redis.call('PEXPIRE', key, rules.quiet_ms)
      return
    end
  else
    if tonumber(flown.fence) <= tonumber(circuit.opened_after or '0') then
      return
    end
    if flown.verdict == 'healthy' then
      if circuit.failures then
        redis.call('HDEL', key, 'failures')
      end
      return
    elseif flown.verdict == 'failing' then
      local failures = redis.call('HINCRBY', key, 'failures', 1)
      redis.call('PEXPIRE', key, rules.quiet_ms)
      if failures < rules.max_failures then
        return
      end
    elseif flown.verdict == 'session_limited' then
      redis.call('HSET', key, 'limited:' .. flown.session, now)
      redis.call('PEXPIRE', key, math.max(rules.quiet_ms, limited_within_ms))
      circuit['limited:' .. flown.session] = now
      local limited = 0
      for session in pairs(fields_after(circuit, 'limited:')) do
        if passed_of(key, circuit, 'limited:' .. session, now) < limited_within_ms then
          limited = limited + 1
        else
          redis.call('HDEL', key, 'limited:' .. session)
        end
      end
      if limited >= limited_sessions then
        opening = {why = 'sessions_limited', pause_ms = math.min(flown.retry_ms or rules.open_ms, 5 * 60 * 1000)}
      end
    end
  end

  if opening then
    opening.by, opening.after = flown.owner, redis.call('GET', fence_key) or flown.fence
    opening.pause_ms = math.max(1, opening.pause_ms)
    open_circuit(key, circuit, now, rules, opening)
  end
end

-- A leader is done, and its outcome says nothing here.
local function free_probe(key, fence)
  redis.call('HDEL', key, 'probe:' .. fence)
end
