-- The tokens that followed one of a login, as far as what is held tells. Comes after keep.lua.

-- Who comes with a token that followed finds the login, too; and whoever presents it calls those that wait there. followed is the record of
-- the first.
local function lead_way_to_family(root, id, next_name, followed, stays_ms)
  local next_holder, its_family = followed.holder, followed.family
  for _ = 1, 16 do
    local next_key = next_name and root .. 'flight:' .. next_name
    if next_key and next_holder then
      -- It is not over before this flight asks about it.
      keep_at_least(next_key, stays_ms)
    end
    if not next_key or its_family then
      return
    elseif next_holder then
      redis.call('HSET', next_key, 'family', id .. ' ' .. next_holder)
    end
    local followed_by, presented_by = unpack(redis.call('HMGET', root .. 'held:' .. next_name, 'next', 'holder'))
    -- Where another credential presented it, what followed is of that one's login.
    next_name = presented_by == next_holder and followed_by
    next_holder, its_family = unpack(next_name and redis.call('HMGET', root .. 'flight:' .. next_name, 'holder', 'family') or {})
  end
end
