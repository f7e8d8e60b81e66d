"""Who hands out subnets and addresses.

Division of labour: `api` is the contract; `default` is the reference's allocator over predefined pools; `null` gives nothing;
`addresses` is the set of numbers below `default`. Nothing here touches the machine or the store.

May import: types, errors.
"""
