"""How embedded scenes come about: solids, furniture, rooms, rays, pictures."""
