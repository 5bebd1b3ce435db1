-- What a session gets back. Mirrors src/admission/attempts.rs; the fields are told in attempts.lua.

-- Longest that a provider is obeyed.
local longest_hold_ms = 5 * 60 * 1000

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
