-- The end of a login that several claims come with; the keys are told in family.lua. Comes after keep.lua and login.lua.

-- All that wait for their turn are called, and find out.
local function call_all(order, channels)
  for _, member in ipairs(redis.call('ZRANGE', order, 0, -1)) do
    local pod, attempt, its_name = string.match(member, '^(%S+) (%S+) (%x+) ')
    redis.pcall('PUBLISH', channels .. pod, 'turn ' .. its_name .. ' ' .. attempt)
  end
  redis.call('DEL', order)
end

-- A token is dead. Where it is the newest, nobody is owed anything any more; one that was left behind says nothing of the others. Answers
-- whether the login is over.
local function end_family(flight, name, id, channels, now)
  local root = root_of(flight)
  local family = root .. 'family:' .. id
  local newest, ended = unpack(redis.call('HMGET', family, 'newest', 'ended'))
  if newest and string.match(newest, '%x+$') ~= name then
    return false
  end
  redis.call('DEL', family, root .. 'answers:' .. id)
  if ended and ended - now > 0 then
    -- That its session has ended is remembered.
    redis.call('HSET', family, 'ended', ended)
    redis.call('PEXPIRE', family, whole(ended - now))
  end
  redis.call('HDEL', flight, 'family', 'family_key')
  call_all(root .. 'order:' .. id, channels)
  return true
end
