-- wrk asks this what the host of its URL means. Here that is the contender, so that
-- it is asked for the server's name.
wrk.resolve = function()
  wrk.addrs = wrk.lookup(os.getenv("BENCH_ADDRESS"), os.getenv("BENCH_PORT"))
end

-- The figures, in one line. Times are microseconds.
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("bench requests=%d us=%d failed=%d p50=%d p99=%d p999=%d\n",
    summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
