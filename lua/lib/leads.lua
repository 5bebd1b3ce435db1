-- Who leads the tokens of a login, for flights that wait for their turn there. Comes after hash.lua.

-- For how long the token is led yet, 0 where nobody leads it.
local function lease_of(root, token)
  local lock = root .. 'lock:' .. (token or '')
  local owner = token and token ~= '' and redis.call('MGET', lock)[1]
  if not owner then
    return 0
  end
  local left_ms, lease_ms = redis.call('PTTL', lock), tonumber(string.match(owner, '/(%d+)$'))
  if lease_ms and left_ms > lease_ms then
    -- The clock was set back: the lock would outlive a dead leader by as much.
    redis.call('PEXPIRE', lock, lease_ms)
    left_ms = lease_ms
  end
  return left_ms
end

-- The same where the fence of its lead stands in this field of its record.
local function lease_noted_in(root, token, field)
  local left_ms = lease_of(root, token)
  local owner, fence = unpack(left_ms > 0 and redis.call('HMGET', root .. 'flight:' .. token, 'owner', field) or {})
  return left_ms, fence and fence == string.match(owner or '', '/(%d+)/')
end

-- The lease of a leader that has landed, and tells nobody yet.
local function untold_lease_of(root, token)
  local left_ms, is_untold = lease_noted_in(root, token, 'untold')
  return is_untold and left_ms or 0
end

-- A stranger's lead is waited for where the token is asked for: in the order of known clients, and not behind all strangers that come.
local function own_lease_of(root, token)
  local left_ms, is_strangers = lease_noted_in(root, token, 'stranger')
  return is_strangers and 0 or left_ms
end
