-- How often a claim may lead for its session: a fixed window, then a cooldown; and how long the provider asked it to stay
-- away. Mirrors src/admission/attempts.rs. Comes after accounts.lua.
--
-- attempts:<session>  hash, for each account: attempts, window_start, last_attempt, cooldown_until, cooldown_ms (the span
--                     that ends then), held_until, allowed (so many flights in this window, if that is more than
--                     max_attempts), each as <field>:<account>

-- rules: max_attempts, window_ms, cooldown_ms, is_background

-- Forgets the accounts that are over. Returns how many are left.
local function forget_accounts(key, session, now, rules)
  local left = 0
  for account in pairs(accounts_of(session)) do
    local window_start = session['window_start:' .. account]
    if (window_start and passed_ms(window_start, now) < rules.window_ms)
      or tonumber(session['cooldown_until:' .. account] or '0') > now
      or tonumber(session['held_until:' .. account] or '0') > now then
      left = left + 1
    else
      forget_account(key, account)
    end
  end
  return left
end

-- The account that pays for flights of a claim with this one. Accounts that are over make room, and known callers find some
-- where strangers do not.
local function account_for(key, session, own, is_stranger, now, rules)
  local account = account_in(session, own)
  if account == shared_account then
    local left = forget_accounts(key, session, now, rules)
    if left < most_accounts or (left < most_accounts_at_all and not is_stranger()) then
      return own
    end
  end
  return account
end

local function attempts_in_window(key, session, account, now, rules)
  if session['cooldown_until:' .. account] then
    -- The window is over with the cooldown: afterwards the count begins anew.
    return 0
  end
  local window_start = 'window_start:' .. account
  if session[window_start] and passed_of(key, session, window_start, now) < rules.window_ms then
    return tonumber(session['attempts:' .. account])
  end
  return 0
end

-- Whether the account may lead once more: how many flights it has led in its window, or nil, why not and for how long. The
-- first attempt too many starts the cooldown, unless nobody waits for it; asking again does not make it longer.
local function admit_by_attempts(key, session, account, now, rules)
  local span_ms = tonumber(session['cooldown_ms:' .. account] or rules.cooldown_ms)
  local left = left_of(key, session, 'cooldown_until:' .. account, now, span_ms)
  if left > 0 then
    return nil, 'cooling_down', left
  end
  local held = left_of(key, session, 'held_until:' .. account, now, longest_hold_ms)
  if held > 0 then
    return nil, 'limited', held
  end
  local in_window = attempts_in_window(key, session, account, now, rules)
  if in_window >= math.max(rules.max_attempts, tonumber(session['allowed:' .. account] or '0')) then
    if rules.is_background then
      return nil, 'cooling_down', whole(rules.window_ms - passed_ms(session['window_start:' .. account], now))
    end
    -- What the window counts stays until the next one begins: its attempts may be given back.
    redis.call('HSET', key, 'cooldown_until:' .. account, now + rules.cooldown_ms, 'cooldown_ms:' .. account,
      rules.cooldown_ms)
    keep_at_least(key, math.max(rules.cooldown_ms, rules.window_ms - passed_ms(session['window_start:' .. account], now)))
    return nil, 'cooling_down', rules.cooldown_ms
  end
  return in_window
end
