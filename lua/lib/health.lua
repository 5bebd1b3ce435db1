-- What the circuit learns from a flight. Mirrors src/admission/circuit.rs and concerned.rs; the fields are told in circuit.lua.

-- So many sessions that are limited within this time are too many.
local limited_sessions, limited_within_ms = 3, 10000
-- So many tokens that failed in a row are told apart.
local failed_tokens = 64

local function open_circuit(key, circuit, now, rules, opening)
  for field in pairs(circuit) do
    if string.match(field, '^probe:') or string.match(field, '^limited:') or string.match(field, '^failed:')
      or string.match(field, '^failures') then
      redis.call('HDEL', key, field)
    end
  end
  redis.call('HSET', key, 'state', 'open', 'opened_because', opening.because, 'open_until', now + opening.pause_ms,
    'open_ms', opening.pause_ms, 'opened_by', opening.by, 'opened_after', opening.after)
  if opening.client then
    redis.call('HSET', key, 'open_for', opening.client)
  else
    redis.call('HDEL', key, 'open_for')
  end
  redis.call('PEXPIRE', key, opening.pause_ms + rules.quiet_ms)
end

-- The failures are in a row no longer.
local function forget_failures(key, circuit)
  redis.call('HDEL', key, 'failures')
  for client in pairs(fields_after(circuit, 'failures:')) do
    redis.call('HDEL', key, 'failures:' .. client)
  end
  for token in pairs(fields_after(circuit, 'failed:')) do
    redis.call('HDEL', key, 'failed:' .. token)
  end
end

-- One more failure in a row, unless this token failed before. Returns how many each client has.
local function count_failure(key, circuit, token, client)
  -- Short enough that the hash stays the compact one.
  token = string.sub(token, 1, 16)
  local failed, told_apart = fields_after(circuit, 'failed:'), 0
  if not failed[token] then
    for _ in pairs(failed) do
      told_apart = told_apart + 1
    end
    if told_apart < failed_tokens then
      redis.call('HSET', key, 'failed:' .. token, '1')
    end
    -- Noted in circuit, too: it opens by what stands there.
    circuit['failed:' .. token], circuit.failures = '1', redis.call('HINCRBY', key, 'failures', 1)
    circuit['failures:' .. client] = redis.call('HINCRBY', key, 'failures:' .. client, 1)
  end
  return fields_after(circuit, 'failures:')
end

-- Notes that a session was limited. Returns how many sessions lately were, of each client.
local function count_limited(key, circuit, session, client, now)
  redis.call('HSET', key, 'limited:' .. session .. '/' .. client, now)
  circuit['limited:' .. session .. '/' .. client] = now
  local counts = {}
  for limited in pairs(fields_after(circuit, 'limited:')) do
    if passed_of(key, circuit, 'limited:' .. limited, now) < limited_within_ms then
      local of = string.match(limited, '/(%w+)$') or ''
      counts[of] = (counts[of] or 0) + 1
    else
      redis.call('HDEL', key, 'limited:' .. limited)
    end
  end
  return counts
end

-- Whom one more of a client concerns, if limit are too many: 'everybody', 'client', or nil. What the client brought that has the
-- most of them concerns nobody else, unless the circuit is open for one client already, of which nothing is counted then.
local function concerned(counts, client, limit, is_one_out)
  local all, most = 0, 0
  for _, count in pairs(counts) do
    all, most = all + count, math.max(most, tonumber(count))
  end
  if all - (is_one_out and 0 or most) >= limit then
    return 'everybody'
  elseif tonumber(counts[client] or '0') >= limit then
    return 'client'
  end
end

-- It is remembered for so long; for as long as it is open for one client, at least.
local function stays(key, ttl_ms, is_one_out)
  if is_one_out then
    keep_at_least(key, ttl_ms)
  else
    redis.call('PEXPIRE', key, ttl_ms)
  end
end

-- A flight of those for whom it is closed. Returns whom that opens it for, if anybody: 'everybody', 'client'.
local function count(key, circuit, flown, now, rules)
  local is_one_out = circuit.state ~= nil
  if flown.health == 'healthy' then
    if circuit.failures then
      forget_failures(key, circuit)
    end
  elseif flown.health == 'failing' then
    local counts = count_failure(key, circuit, flown.token, flown.client)
    stays(key, rules.quiet_ms, is_one_out)
    return concerned(counts, flown.client, rules.max_failures, is_one_out)
  elseif flown.health == 'fleet_limited' then
    return is_one_out and 'everybody' or 'client'
  elseif flown.health == 'session_limited' then
    local counts = count_limited(key, circuit, flown.session, flown.client, now)
    stays(key, math.max(rules.quiet_ms, limited_within_ms), is_one_out)
    return concerned(counts, flown.client, limited_sessions, is_one_out)
  end
end

-- Learns from a flight of a known caller that landed. flown: owner, fence, token, session, client, health (healthy, failing,
-- neutral, session_limited, fleet_limited), retry_ms (nil when the provider named none). Returns how that moved it, in words, nil
-- where it did not: 'closed', or 'opened <because> <ms> <client>', the client 'all' where it is for everybody.
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

  if not circuit.state or (circuit.open_for and circuit.open_for ~= flown.client) then
    if tonumber(flown.fence) <= tonumber(circuit.opened_after or '0') then
      return
    end
    local whom = count(key, circuit, flown, now, rules)
    if not whom then
      return
    elseif flown.health == 'session_limited' then
      opening = {because = 'sessions_limited', pause_ms = math.min(flown.retry_ms or rules.open_ms, longest_hold_ms)}
    end
    opening.client = whom == 'client' and flown.client or nil
  elseif circuit.state == 'open' then
    -- Nothing was admitted since it opened.
    return
  else
    local ends = tonumber(string.match(was_probe or '', '^(%d+) %d+$') or '0')
    if ends <= now then
      return
    end
    if flown.health == 'healthy' then
      for probe in pairs(fields_after(circuit, 'probe:')) do
        redis.call('HDEL', key, 'probe:' .. probe)
      end
      redis.call('HDEL', key, 'state', 'open_for', 'opened_because', 'open_until', 'open_ms', 'opened_by')
      redis.call('PEXPIRE', key, rules.quiet_ms)
      return 'closed'
    elseif not opening then
      return
    end
    opening.client = circuit.open_for
  end

  opening.by, opening.after = flown.owner, redis.call('GET', fence_key) or flown.fence
  opening.pause_ms = math.max(1, opening.pause_ms)
  open_circuit(key, circuit, now, rules, opening)
  return table.concat({'opened', opening.because, whole(opening.pause_ms), opening.client or 'all'}, ' ')
end
