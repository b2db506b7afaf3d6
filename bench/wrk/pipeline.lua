-- Sends `depth` GET requests in one write (the script's first argument, 16 by default). wrk counts each answer;
-- its latency is that of the whole group.
function init(args)
  local depth = tonumber(args[1]) or 16
  local one = wrk.format("GET")
  group = string.rep(one, depth)
end

function request()
  return group
end

dofile((os.getenv("BENCH_WRK_DIR") or "bench/wrk") .. "/report.lua")
