-- What the circuit learns from a flight. Mirrors src/admission/circuit.rs; the fields are told in circuit.lua.

-- So many sessions that are limited within this time are a limit of everybody.
local limited_sessions, limited_within_ms = 3, 10000
-- So many tokens that failed in a row are told apart.
local failed_tokens = 64

local function open_circuit(key, circuit, now, rules, opening)
  for field in pairs(circuit) do
    if string.match(field, '^probe:') or string.match(field, '^limited:') or string.match(field, '^failed:') then
      redis.call('HDEL', key, field)
    end
  end
  redis.call('HSET', key, 'state', 'open', 'opened_because', opening.because, 'open_until', now + opening.pause_ms,
    'open_ms', opening.pause_ms, 'opened_by', opening.by, 'opened_after', opening.after)
  redis.call('HDEL', key, 'failures')
  redis.call('PEXPIRE', key, opening.pause_ms + rules.quiet_ms)
end

-- The failures are in a row no longer.
local function forget_failures(key, circuit)
  redis.call('HDEL', key, 'failures')
  for token in pairs(fields_after(circuit, 'failed:')) do
    redis.call('HDEL', key, 'failed:' .. token)
  end
end

-- One more failure in a row, unless this token failed before. Returns how many there are.
local function count_failure(key, circuit, token)
  -- Short enough that the hash stays the compact one.
  token = string.sub(token, 1, 16)
  local failed, told_apart = fields_after(circuit, 'failed:'), 0
  if failed[token] then
    return tonumber(circuit.failures)
  end
  for _ in pairs(failed) do
    told_apart = told_apart + 1
  end
  if told_apart < failed_tokens then
    redis.call('HSET', key, 'failed:' .. token, '1')
  end
  return redis.call('HINCRBY', key, 'failures', 1)
end

-- Learns from a flight of a known caller that landed. flown: owner, fence, token, session, health (healthy, failing, neutral,
-- session_limited, fleet_limited), retry_ms (nil when the provider named none).
local function learn(key, circuit, fence_key, flown, now, rules)
  local was_probe = circuit['probe:' .. flown.fence]
  if was_probe then
    redis.call('HDEL', key, 'probe:' .. flown.fence)
    circuit['probe:' .. flown.fence] = nil
  end

  local opening
  if flown.health == 'failing' then
    opening = {because = 'failures', pause_ms = rules.open_ms}
  elseif flown.health == 'fleet_limited' then
    opening = {because = 'retry_after', pause_ms = math.min(flown.retry_ms, longest_hold_ms)}
  end

  if circuit.state == 'open' then
    -- Nothing was admitted since it opened.
    return
  elseif circuit.state == 'half_open' then
    local ends = tonumber(string.match(was_probe or '', '^(%d+) %d+$') or '0')
    if ends <= now then
      return
    end
    if flown.health == 'healthy' then
      for probe in pairs(fields_after(circuit, 'probe:')) do
        redis.call('HDEL', key, 'probe:' .. probe)
      end
      redis.call('HDEL', key, 'state', 'opened_because', 'open_until', 'open_ms', 'opened_by')
      redis.call('PEXPIRE', key, rules.quiet_ms)
      return
    end
  else
    if tonumber(flown.fence) <= tonumber(circuit.opened_after or '0') then
      return
    end
    if flown.health == 'healthy' then
      if circuit.failures then
        forget_failures(key, circuit)
      end
      return
    elseif flown.health == 'failing' then
      local failures = count_failure(key, circuit, flown.token)
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
        opening = {because = 'sessions_limited', pause_ms = math.min(flown.retry_ms or rules.open_ms, longest_hold_ms)}
      end
    end
  end

  if opening then
    opening.by, opening.after = flown.owner, redis.call('GET', fence_key) or flown.fence
    opening.pause_ms = math.max(1, opening.pause_ms)
    open_circuit(key, circuit, now, rules, opening)
  end
end
