-- Whether the provider is to be left in peace. Mirrors src/admission/circuit.rs.
--
-- circuit  hash; no state means closed
--   state             open, half_open
--   failures          failed flights in a row, of those for whom it is closed
--   failures:<client> of these, the client's
--   open_until        when the first probe may go; open_ms is the span that ends then
--   open_for          the client that it is open for; without it, everybody
--   opened_because    failures, retry_after, sessions_limited
--   opened_by         the owner of the outcome that opened it
--   opened_after      the last fence given before: what was sent until then does not decide
--   probe:<fence>     a probe that is out -> the end of its lease, and how long that is
--   limited:<session>/<client> a session that the provider limited lately -> when
--
-- rules: half_open, quiet_ms, lease_ms; health.lua has what opens it

-- What is left of a probe, by the lease that it was given with. One that ends later was given before the clock was set back.
local function probe_left(key, circuit, fence, now)
  local ends, lease_ms = string.match(circuit['probe:' .. fence], '^(%d+) (%d+)$')
  if not ends then
    return 0
  end
  if tonumber(ends) > now + lease_ms then
    ends = whole(now + lease_ms)
    redis.call('HSET', key, 'probe:' .. fence, ends .. ' ' .. lease_ms)
  end
  return math.max(0, ends - now)
end

-- For a flight of this client: 'free', 'probe', or nil and for how long nobody of those that it is open for is led.
local function admit_by_circuit(key, circuit, client, now, rules)
  if circuit.open_for and circuit.open_for ~= client then
    return 'free'
  elseif circuit.state == 'open' then
    local left = left_of(key, circuit, 'open_until', now, tonumber(circuit.open_ms))
    if left > 0 then
      return nil, left
    end
    return 'probe'
  elseif circuit.state == 'half_open' then
    local out, first = 0, fair_pause_ms
    for probe in pairs(fields_after(circuit, 'probe:')) do
      local left = probe_left(key, circuit, probe, now)
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

local function lease_of_probe(now, rules)
  return whole(now + rules.lease_ms) .. ' ' .. whole(rules.lease_ms)
end

-- A flight that may pass as a probe is led. Probes of lost leaders make way.
local function take_probe(key, circuit, fence, now, rules)
  for probe in pairs(fields_after(circuit, 'probe:')) do
    if probe_left(key, circuit, probe, now) == 0 then
      redis.call('HDEL', key, 'probe:' .. probe)
    end
  end
  redis.call('HSET', key, 'state', 'half_open', 'probe:' .. fence, lease_of_probe(now, rules))
  redis.call('PEXPIRE', key, rules.lease_ms + rules.quiet_ms)
end

-- A leader that lives keeps its probe, if it has one.
local function renew_probe(key, fence, now, rules)
  if redis.call('HEXISTS', key, 'probe:' .. fence) == 1 then
    redis.call('HSET', key, 'probe:' .. fence, lease_of_probe(now, rules))
    redis.call('PEXPIRE', key, rules.lease_ms + rules.quiet_ms)
  end
end
