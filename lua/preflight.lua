-- Looks, at start, whether scripts can run on this server. What the user may do is tried before that, command by command.
--
-- KEYS[1] fence      string, the last fence given
--
-- Replies
--   {'ready', fence, run_id} and the last fence given, 0 when none was; this server, '' where its run id may not be asked
--   {'old', version}         a server older than the scripts need
--   {'narrow'}               a 32-bit build
assert(#KEYS == 1 and #ARGV == 0, 'preflight: 1 key, 0 arguments')
local fence = KEYS[1]

-- Known to scripts from 7.0 on.
if not redis.REDIS_VERSION_NUM or redis.REDIS_VERSION_NUM < 0x00070000 then
  return {'old', redis.REDIS_VERSION or 'before 7.0'}
end

-- The Lua of a 32-bit server writes no stamp with %d: all would be the same, and every span over or endless.
if string.format('%d', 4294967296) ~= '4294967296' then
  return {'narrow'}
end

local info = redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
return {'ready', redis.call('GET', fence) or '0', run_id}
