"""What a job does instead of attaching an adapter, by what the network of a task starts from (ecgraft.continual).

encoder(leads, seed) -> nn.Module         # that is to learn
learn(job, objective, batches, how, folder) -> Result
identity -> dict                          # what must be alike for an interrupted run to go on
changed(network) -> dict                  # fields of the graft: adapter, adapter_config, tensors, shared, card
"""
