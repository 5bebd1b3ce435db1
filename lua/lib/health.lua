-- What the circuit and the session learn from a flight. Mirrors src/admission/circuit.rs and attempts.rs; the fields
-- are told in circuit.lua and attempts.lua. Comes after charge.lua.

-- So many sessions that are limited within this time are a limit of everybody.
local limited_sessions, limited_within_ms = 3, 10000

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

-- Learns from a flight that landed. flown: owner, fence, session, health (healthy, failing, neutral,
-- session_limited, fleet_limited), retry_ms (nil when the provider named none).
local function learn(key, circuit, fence_key, flown, now, rules)
  local was_probe = circuit['probe:' .. flown.fence]
  if was_probe then
    redis.call('HDEL', key, 'probe:' .. flown.fence)
    circuit['probe:' .. flown.fence] = nil
  end

  local opening
  if flown.health == 'failing' then
    opening = {why = 'failures', pause_ms = rules.open_ms}
  elseif flown.health == 'fleet_limited' then
    opening = {why = 'retry_after', pause_ms = math.min(flown.retry_ms, 5 * 60 * 1000)}
  end

  if circuit.state == 'open' then
    -- Nothing was admitted since it opened.
    return
  elseif circuit.state == 'half_open' then
    if not was_probe or left_ms(was_probe, now, rules.lease_ms) == 0 then
      return
    end
    if flown.health == 'healthy' then
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
    if flown.health == 'healthy' then
      if circuit.failures then
        redis.call('HDEL', key, 'failures')
      end
      return
    elseif flown.health == 'failing' then
      local failures = redis.call('HINCRBY', key, 'failures', 1)
      redis.call('PEXPIRE', key, rules.quiet_ms)
      if failures < rules.max_failures then
        return
      end
    elseif flown.health == 'session_limited' then
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

-- The provider asked the session to stay away.
local function hold_session(attempts, now, retry_ms)
  local hold_ms = math.min(retry_ms, longest_hold_ms)
  local held_until = tonumber(redis.call('HGET', attempts, 'held_until') or '0')
  redis.call('HSET', attempts, 'held_until', math.max(held_until, now + hold_ms))
  keep_at_least(attempts, math.max(1, hold_ms))
end
