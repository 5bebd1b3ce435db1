-- The accounts of a session: which of them pays for a claim. Mirrors src/admission/session.rs; the fields are told in
-- attempts.lua.

-- So many claims of a session have accounts of their own, known callers some more; all further ones share one.
local most_accounts, most_accounts_at_all, shared_account = 64, 1024, 'shared'

-- The accounts of their own that a session has, and how many.
local function accounts_of(session)
  local accounts, count = {}, 0
  for field in pairs(session) do
    local account = string.match(field, ':(%w+)$')
    if account and account ~= shared_account and not accounts[account] then
      accounts[account], count = true, count + 1
    end
  end
  return accounts, count
end

-- The account that pays for flights of a claim with this one.
local function account_in(session, own)
  if not next(session) or session['window_start:' .. own] or session['held_until:' .. own] then
    return own
  end
  local _, count = accounts_of(session)
  return count >= most_accounts and shared_account or own
end

local function forget_account(key, account)
  redis.call('HDEL', key, 'attempts:' .. account, 'window_start:' .. account, 'last_attempt:' .. account,
    'cooldown_until:' .. account, 'cooldown_ms:' .. account, 'held_until:' .. account, 'allowed:' .. account)
end
