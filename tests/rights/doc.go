// Package rights tests what each rule of a gateway's ACL policy is for, on a real
// Consul with a default policy of deny: with one of them missing, what does the
// gateway lack, and what does its log say? README.md has a table of it.
package rights
