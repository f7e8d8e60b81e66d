"""Who hands out subnets and addresses.

Division of labour: `api` is the contract; `default` is the reference's allocator over predefined pools; `null` gives nothing. Below
`default`: `predefined` has the pools to choose from, `subnets` knows which subnets are out, `pools` the addresses of one of them, and
`addresses` is a set of numbers. Nothing here touches the machine or the store.

May import: labels, types, errors.
"""
