-- rspamd. Standard input has a message a line, in base64; standard output gets a line for each: the addresses that it takes for
-- the author's, in base64.
local rspamd_task = require "rspamd_task"
local rspamd_util = require "rspamd_util"

for line in io.lines() do
  local found = {}
  local ok, task = rspamd_task.load_from_string(tostring(rspamd_util.decode_base64(line)), rspamd_config)
  if ok then
    task:process_message()
    for _, address in ipairs(task:get_from('mime') or {}) do
      table.insert(found, tostring(rspamd_util.encode_base64(address.user .. '@' .. address.domain)))
    end
    task:destroy()
  end
  print(table.concat(found, ' '))
end
