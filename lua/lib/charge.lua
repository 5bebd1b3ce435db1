-- What an account of a session pays for a lead. Mirrors src/admission/attempts.rs; the fields are told in attempts.lua, which
-- says whether it may.

-- Counts an attempt, after those that the account has in its window. Returns the start of the window and the account that it is
-- charged to: where it can be given back.
local function charge_attempt(key, session, account, in_window, now, window_ms)
  local at = whole(now)
  local start = in_window == 0 and at or session['window_start:' .. account]
  if session['cooldown_until:' .. account] or (in_window == 0 and session['allowed:' .. account]) then
    redis.call('HDEL', key, 'cooldown_until:' .. account, 'cooldown_ms:' .. account, 'allowed:' .. account)
  end
  redis.call('HSET', key, 'attempts:' .. account, whole(in_window + 1), 'window_start:' .. account, start,
    'last_attempt:' .. account, at)
  local ttl_ms = window_ms - passed_ms(start, now)
  if next(session) then
    keep_at_least(key, ttl_ms)
  else
    redis.call('PEXPIRE', key, whole(ttl_ms))
  end
  return start .. ' ' .. account
end
