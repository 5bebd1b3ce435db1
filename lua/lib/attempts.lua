-- How often a session may lead: a fixed window, then a cooldown; and how long the provider asked it to stay away.
-- Mirrors src/admission/attempts.rs.
--
-- attempts:<session>  hash: attempts, window_start, last_attempt, cooldown_until, cooldown_ms (the span that ends then),
--                     held_until

-- rules: max_attempts, window_ms, cooldown_ms
local function attempts_in_window(key, session, now, rules)
  if session.window_start and passed_of(key, session, 'window_start', now) < rules.window_ms then
    return tonumber(session.attempts)
  end
  return 0
end

-- Longest that a provider is obeyed.
local longest_hold_ms = 5 * 60 * 1000

-- Whether the session may lead once more; if not, why and for how long. The first attempt too many starts the
-- cooldown; asking again does not make it longer.
local function judge_attempts(key, session, now, rules)
  local left = left_of(key, session, 'cooldown_until', now, tonumber(session.cooldown_ms or rules.cooldown_ms))
  if left > 0 then
    return 'cooling_down', left
  end
  local held = left_of(key, session, 'held_until', now, longest_hold_ms)
  if held > 0 then
    return 'limited', held
  end
  if attempts_in_window(key, session, now, rules) >= rules.max_attempts then
    -- The window is over with it: afterwards the count begins anew.
    redis.call('HDEL', key, 'attempts', 'window_start')
    redis.call('HSET', key, 'cooldown_until', now + rules.cooldown_ms, 'cooldown_ms', rules.cooldown_ms)
    redis.call('PEXPIRE', key, rules.cooldown_ms)
    return 'cooling_down', rules.cooldown_ms
  end
end

-- Counts an attempt. Returns the start of the window it is charged to: where it can be given back.
local function charge_attempt(key, session, now, rules)
  local count = attempts_in_window(key, session, now, rules) + 1
  local start = count == 1 and now or tonumber(session.window_start)
  redis.call('HSET', key, 'attempts', count, 'window_start', start, 'last_attempt', now)
  redis.call('PEXPIRE', key, rules.window_ms - passed_ms(start, now))
  return start
end

-- Gives an attempt back, unless its window is over.
local function uncharge_attempt(key, charged)
  local start, count, cooldown_until, held_until =
    unpack(redis.call('HMGET', key, 'window_start', 'attempts', 'cooldown_until', 'held_until'))
  if not charged or start ~= charged then
    return
  end
  if tonumber(count) <= 1 and not cooldown_until and not held_until then
    redis.call('DEL', key)
  else
    redis.call('HINCRBY', key, 'attempts', -1)
  end
end

-- The provider asked the session to stay away.
local function hold_session(key, now, retry_ms)
  local hold_ms = math.min(retry_ms, longest_hold_ms)
  local held_until = tonumber(redis.call('HGET', key, 'held_until') or '0')
  redis.call('HSET', key, 'held_until', math.max(held_until, now + hold_ms))
  keep_at_least(key, math.max(1, hold_ms))
end
