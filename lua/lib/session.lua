-- What a session learns from a flight that has ended. Mirrors src/admission/attempts.rs; the fields are told in
-- attempts.lua. Comes after accounts.lua.

-- Gives an attempt back, unless its window is over. A cooldown that began meanwhile is lifted: without this attempt there
-- was none too many. charged: the start of the window and the account.
local function uncharge_attempt(key, charged)
  local charged_start, account = string.match(charged or '', '^(%d+) (%w+)$')
  if not account then
    return
  end
  local start, count, cooldown_until, held_until = unpack(redis.call('HMGET', key, 'window_start:' .. account,
    'attempts:' .. account, 'cooldown_until:' .. account, 'held_until:' .. account))
  if start ~= charged_start then
    return
  end
  if cooldown_until then
    if tonumber(cooldown_until) <= read_clock() then
      -- The count begins anew.
      return
    end
    redis.call('HDEL', key, 'cooldown_until:' .. account, 'cooldown_ms:' .. account)
  end
  if tonumber(count) <= 1 and not held_until then
    forget_account(key, account)
  else
    redis.call('HINCRBY', key, 'attempts:' .. account, -1)
  end
end

-- The access tokens of the session live so short that it may lead so many flights in the window that runs.
local function allow_attempts(key, account, allowed)
  if redis.call('HEXISTS', key, 'window_start:' .. account) == 1 then
    redis.call('HSET', key, 'allowed:' .. account, whole(allowed))
  end
end

-- The provider asked a claim of the session to stay away.
local function hold_session(attempts, own, now, retry_ms)
  local hold_ms = math.min(retry_ms, longest_hold_ms)
  local account = account_in(read_hash(attempts), own)
  local held_until = tonumber(redis.call('HGET', attempts, 'held_until:' .. account) or '0')
  redis.call('HSET', attempts, 'held_until:' .. account, math.max(held_until, now + hold_ms))
  keep_at_least(attempts, math.max(1, hold_ms))
end
