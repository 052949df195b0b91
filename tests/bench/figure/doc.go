// Package figure has what a benchmark measured, and what is made of it.
//
// A Run has samples: what one contender did at one workload in one round. Contenders
// take turns within a round, so what the machine does besides hits all of them alike,
// and a ratio of two samples of the same round says more than either of them. What is
// compared are therefore medians of ratios (Run.Ratio), to the limit, which is no proxy at
// all, and to the best peer (Run.BestPeer). Each workload says by Metrics what it is
// that counts.
package figure
