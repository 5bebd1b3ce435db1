-- How often a session may lead: a fixed window, then a cooldown; and how long the provider asked it to stay away.
-- Mirrors src/admission/attempts.rs. Comes after charge.lua.
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

-- Whether the session may lead once more; if not, why and for how long. The first attempt too many starts the
-- cooldown; asking again does not make it longer.
local function admit_by_attempts(key, session, now, rules)
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
  local count, at = attempts_in_window(key, session, now, rules) + 1, whole(now)
  local start = count == 1 and at or session.window_start
  redis.call('HSET', key, 'attempts', whole(count), 'window_start', start, 'last_attempt', at)
  redis.call('PEXPIRE', key, whole(rules.window_ms - passed_ms(start, now)))
  return start
end
